"""The broker that a command works on: the state folder here, or a broker elsewhere over its admin API.

Both answer with the same plain JSON values, so commands do not know which one they talk to.
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import msgspec

from kbs.audit.established import whole
from kbs.config import Config, load
from kbs.errors import (
    AdminDenied,
    Conflict,
    KbsError,
    MalformedRequest,
    PolicyDenied,
    ResourceNotFound,
    SetupError,
    TooLarge,
)
from kbs.protocol.messages import API_PREFIX, decode_error
from kbs.protocol.resource_uri import ResourcePath

MAX_ANSWER_BYTES = 64 * 1024 * 1024
TIMEOUT_SECONDS = 30

# Plain JSON values: what a route answers, and what `msgspec.to_builtins` makes of a service's answer.
Json: TypeAlias = Any

_FAULTS: dict[int, type[KbsError]] = {400: MalformedRequest, 401: AdminDenied, 403: PolicyDenied,
                                      404: ResourceNotFound, 409: Conflict, 413: TooLarge}


class Target(Protocol):
    """What commands ask; ``space`` is ``resource-policy`` or ``attestation-policy``."""

    def set_resource(self, path: ResourcePath, value: bytes) -> Json:
        """Store a new version of a secret."""

    def delete_resource(self, path: ResourcePath) -> None:
        """Delete a secret with all its versions."""

    def resources(self, prefix: str) -> Json:
        """Names and sizes under a prefix; never values."""

    def versions(self, path: ResourcePath) -> Json:
        """What there is of one secret."""

    def roll_back(self, path: ResourcePath, version: int) -> Json:
        """Make an earlier version the present one."""

    def reveal(self, path: ResourcePath, version: int | None) -> bytes:
        """The value itself; None means the present version. Only on the broker's own machine."""

    def set_policy(self, space: str, name: str, text: str) -> Json:
        """Judge a policy and store it."""

    def policies(self, space: str) -> Json:
        """What is stored."""

    def policy(self, space: str, name: str) -> str:
        """The text of one."""

    def delete_policy(self, space: str, name: str) -> None:
        """Back to the shipped one."""

    def register(self, message: bytes) -> Json:
        """Register reference values from a message of theirs (JSON)."""

    def reference_values(self) -> Json:
        """What is registered."""

    def delete_reference_value(self, name: str) -> None:
        """Forget one."""

    def revoke_token(self, id: str) -> None:
        """End one token, by its id."""

    def records(self, last: int) -> Json:
        """The newest audit records, oldest of them first."""

    def head(self) -> Json:
        """Where the audit log stands."""



@contextmanager
def open_target(url: str | None, token_file: Path | None, ca: Path | None, config: Path | None,
                state: Path | None) -> Iterator[Target]:
    """The broker at ``url``, or without one the state folder that configuration and ``state`` name."""
    if url is not None:
        yield Remote(url, token_file, ca)
        return
    with local(load(config, state=state)) as target:
        yield target


@contextmanager
def local(config: Config) -> Iterator[Local]:
    """The broker in ``config``'s state folder, which must have been made. Raises `SetupError`."""
    if not (config.state / "keys").is_dir():
        raise SetupError("cli.state", f"there is no broker in {config.state}: run kbs init, or name its --state")
    from kbs.app import create_broker

    broker = create_broker(config)
    try:
        yield Local(broker)
    finally:
        broker.close()


class Local:
    """Straight to the services. Who can read the state folder's keys is its administrator."""

    def __init__(self, broker: Any) -> None:
        from kbs.services.admin_tokens import Administrator

        self.broker = broker
        self._administration = broker.administration
        self._who = Administrator("local", "local", getpass.getuser())

    def set_resource(self, path: ResourcePath, value: bytes) -> Json:
        return _plain(self._administration.set_resource(path, value, self._who, _now()))

    def delete_resource(self, path: ResourcePath) -> None:
        self._administration.delete_resource(path, self._who, _now())

    def resources(self, prefix: str) -> Json:
        return _plain(self._administration.resources(prefix))

    def versions(self, path: ResourcePath) -> Json:
        return _plain(self._administration.resource_versions(path))

    def roll_back(self, path: ResourcePath, version: int) -> Json:
        return _plain(self._administration.roll_back_resource(path, version, self._who, _now()))

    def reveal(self, path: ResourcePath, version: int | None) -> bytes:
        value: bytes = self._administration.reveal_resource(path, version, self._who, _now())
        return value

    def set_policy(self, space: str, name: str, text: str) -> Json:
        if space == "resource-policy":
            return _plain(self._administration.set_resource_policy(text, self._who, _now()))
        return _plain(self._administration.set_attestation_policy(name, text, self._who, _now()))

    def policies(self, space: str) -> Json:
        return [entry.key for entry in self._administration.policies(space)]

    def policy(self, space: str, name: str) -> str:
        text: str = self._administration.policy(space, name)
        return text

    def delete_policy(self, space: str, name: str) -> None:
        self._administration.delete_policy(space, name, self._who, _now())

    def register(self, message: bytes) -> Json:
        return _plain(self._administration.register_reference_values(message, self._who, _now()))

    def reference_values(self) -> Json:
        return [{"name": value.name, "value": value.plain(), "expires": value.expires}
                for value in self._administration.reference_values()]

    def delete_reference_value(self, name: str) -> None:
        self._administration.delete_reference_value(name, self._who, _now())

    def revoke_token(self, id: str) -> None:
        self._administration.revoke_token(id, self._who, _now())

    def records(self, last: int) -> Json:
        return whole(self.broker.audit.last(last), self.broker.audit)

    def head(self) -> Json:
        head = self.broker.audit.head()
        return {"count": head.count, "head": head.hash.hex()}


class Remote:
    """Over HTTP with an admin token, which is read from a file and goes nowhere else."""

    def __init__(self, url: str, token_file: Path | None, ca: Path | None) -> None:
        import urllib3

        if token_file is None:
            raise SetupError("cli.admin_token", "--url needs --admin-token-file; kbs admin-token makes a token")
        try:
            self._token = token_file.read_text().strip()
        except OSError as error:
            raise SetupError("cli.admin_token", f"{token_file} cannot be read: {error.strerror}") from None
        self._base = url.rstrip("/") + API_PREFIX
        self._http = urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS,
                                         ca_certs=str(ca) if ca else None, cert_reqs="CERT_REQUIRED")

    def set_resource(self, path: ResourcePath, value: bytes) -> Json:
        return self._json("POST", f"/resource/{path.path}", value)

    def delete_resource(self, path: ResourcePath) -> None:
        self._call("DELETE", f"/resource/{path.path}")

    def resources(self, prefix: str) -> Json:
        return self._json("GET", f"/admin/resources?prefix={quote(prefix, safe='')}")

    def versions(self, path: ResourcePath) -> Json:
        return self._json("GET", f"/admin/resources/{path.path}")

    def roll_back(self, path: ResourcePath, version: int) -> Json:
        return self._json("POST", f"/admin/resources/{path.path}/rollback", _encoded({"version": version}))

    def reveal(self, path: ResourcePath, version: int | None) -> bytes:
        del path, version
        raise SetupError("cli.reveal", "a broker shows secrets to attested guests only; --reveal works on its machine")

    def set_policy(self, space: str, name: str, text: str) -> Json:
        from verifier.formats.strict import base64url

        members = {"policy": base64url(text.encode())}
        if space == "attestation-policy":
            members |= {"type": "rego", "policy_id": name}
        return self._json("POST", f"/{space}", _encoded(members))

    def policies(self, space: str) -> Json:
        return self._json("GET", f"/{space}")

    def policy(self, space: str, name: str) -> str:
        return self._call("GET", f"/{space}/{quote(name, safe='')}").decode()

    def delete_policy(self, space: str, name: str) -> None:
        self._call("DELETE", f"/{space}/{quote(name, safe='')}")

    def register(self, message: bytes) -> Json:
        return self._json("POST", "/reference-value", message)

    def reference_values(self) -> Json:
        return self._json("GET", "/reference-value")

    def delete_reference_value(self, name: str) -> None:
        self._call("DELETE", f"/reference-value/{quote(name, safe='')}")

    def revoke_token(self, id: str) -> None:
        self._call("POST", "/admin/revoked-tokens", _encoded({"id": id}))

    def records(self, last: int) -> Json:
        return self._json("GET", f"/admin/audit?last={last}")

    def head(self) -> Json:
        return self._json("GET", "/admin/audit/head")

    def _json(self, method: str, path: str, body: bytes | None = None) -> Json:
        return json.loads(self._call(method, path, body))

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        import urllib3

        try:
            answer = self._http.request(method, self._base + path, body=body, preload_content=False, redirect=False,
                                        headers={"Authorization": f"Bearer {self._token}"})
            data = answer.read(MAX_ANSWER_BYTES)
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise SetupError("cli.url", f"no answer from {self._base} ({type(error).__name__})") from None
        if answer.status != 200:
            raise _fault(answer.status, data)
        return data


def _fault(status: int, body: bytes) -> KbsError:
    try:
        told = decode_error(body)
    except KbsError:
        return SetupError("cli.answer", "the broker answered with something unexpected", got=f"HTTP {status}")
    reference = f" (reference {told.reference})" if told.reference else ""
    return _FAULTS.get(status, SetupError)(told.id or f"cli.http.{status}", told.detail + reference)


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def _plain(value: Any) -> Json:
    return msgspec.to_builtins(value)


def _now() -> int:
    return int(time.time())
