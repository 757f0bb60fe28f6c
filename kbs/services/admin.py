"""What administrators change, and look at.

Every change is one transaction with its audit record. A policy is compiled and tried out before it is stored, and what
it may not mean is said. Secrets go in; `reveal_resource` alone shows one, and no route of the web room leads to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbs.audit.record import AuditLog, Entry, Kind, Outcome
from kbs.errors import MalformedRequest, ResourceNotFound, TooLarge
from kbs.plugins.resource import SPACE as RESOURCES
from kbs.protocol.messages import MAX_RESOURCE_BYTES
from kbs.protocol.resource_uri import ResourcePath
from kbs.services.admin_tokens import Administrator
from kbs.services.shelf import (
    ATTESTATION_POLICIES,
    REFERENCE_VALUES,
    RESOURCE_POLICIES,
    RESOURCE_POLICY,
    REVOKED_TOKENS,
    Shelf,
    reference_value,
    stored_form,
)
from kbs.storage.base import Entry as StoredEntry
from kbs.storage.base import Storage, Transactions
from verifier.appraisal.submodules import CLASSES
from verifier.errors import SetupError as VerifierSetupError
from verifier.evidence import Tee
from verifier.policy.engine import PolicyEngine, PolicyError
from verifier.policy.review import check_attestation_policy, check_release_policy
from verifier.reference_values.model import ReferenceValue
from verifier.reference_values.provider import read_message

APPLIED_IDS = frozenset({*(f"default_{kind}" for kind in CLASSES), *(f"default_{tee}" for tee in Tee)})

_POLICY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}\Z", re.ASCII)
_TOKEN_ID = re.compile(r"[\x21-\x7e]{1,256}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a change made. ``version`` of the value; ``warnings`` for people, empty when all is as it should be."""

    name: str
    version: int
    warnings: tuple[str, ...] = ()


class Administration:
    """Every call names the administrator and the moment (Unix seconds); the caller has established who it is."""

    def __init__(self, *, storage: Storage, shelf: Shelf, engine: PolicyEngine, audit: AuditLog,
                 transactions: Transactions) -> None:
        self._storage = storage
        self._shelf = shelf
        self._engine = engine
        self._audit = audit
        self._transactions = transactions

    # -- secrets -------------------------------------------------------------------------------------------------------

    def set_resource(self, path: ResourcePath, value: bytes, who: Administrator, at: int) -> Stored:
        """A new version. Raises `MalformedRequest` for an empty value, `TooLarge`."""
        if not value:
            raise MalformedRequest("admin.resource.empty", "a secret is at least one byte")
        if len(value) > MAX_RESOURCE_BYTES:
            raise TooLarge("admin.resource.size", "the secret is too large", expected=f"<= {MAX_RESOURCE_BYTES} bytes",
                           got=f"{len(value)} bytes")
        with self._transactions():
            version = self._storage.put(RESOURCES, path.path, value)
            self._record(who, at, "resource.set", {"resource": path.path, "version": version, "size": len(value)})
        return Stored(path.path, version)

    def roll_back_resource(self, path: ResourcePath, version: int, who: Administrator, at: int) -> Stored:
        """Version ``version``'s value again, as a new version. Raises `ResourceNotFound`."""
        with self._transactions():
            record = self._storage.get(RESOURCES, path.path, version)
            if record is None:
                raise ResourceNotFound("admin.resource.version", "there is no such version")
            new = self._storage.put(RESOURCES, path.path, record.value)
            self._record(who, at, "resource.rollback", {"resource": path.path, "version": new, "from": version})
        return Stored(path.path, new)

    def reveal_resource(self, path: ResourcePath, version: int | None, who: Administrator, at: int) -> bytes:
        """The secret itself, for whoever holds the state folder; written down before it opens. Raises
        `ResourceNotFound`."""
        present = self.resource_versions(path)[-1].version if version is None else version
        self._record(who, at, "resource.reveal", {"resource": path.path, "version": present})
        record = self._storage.get(RESOURCES, path.path, present)
        if record is None:
            raise ResourceNotFound("admin.resource.version", "there is no such version")
        return record.value

    def delete_resource(self, path: ResourcePath, who: Administrator, at: int) -> None:
        """Forget every version. Raises `ResourceNotFound`."""
        self._delete(RESOURCES, path.path, who, at, "resource.delete")

    def resources(self, prefix: str = "") -> tuple[StoredEntry, ...]:
        """The newest version of every secret whose path begins with ``prefix``; names, sizes and dates only."""
        return self._storage.list(RESOURCES, prefix)

    def resource_versions(self, path: ResourcePath) -> tuple[StoredEntry, ...]:
        """Every version of one secret, oldest first. Raises `ResourceNotFound`."""
        found = self._storage.versions(RESOURCES, path.path)
        if not found:
            raise ResourceNotFound("resource.absent", "nothing is stored under this name")
        return found

    # -- policies ------------------------------------------------------------------------------------------------------

    def set_attestation_policy(self, name: str, text: str, who: Administrator, at: int) -> Stored:
        """Store a policy for the appraisal of evidence. Raises `MalformedRequest` naming what does not compile."""
        policy_id = "default_cpu" if name == "default" else name
        if _POLICY_ID.match(policy_id) is None:
            raise MalformedRequest("admin.policy_id", "not a policy id", expected="[A-Za-z0-9_-]{1,128}")
        registered = [value.name for value in self.reference_values()]
        warnings = _reviewed(lambda: check_attestation_policy(self._engine, text, registered=registered))
        if policy_id not in APPLIED_IDS:
            warnings.insert(0, f"no TEE is judged by {policy_id}; applied are {', '.join(sorted(APPLIED_IDS))}")
        return self._set_policy(ATTESTATION_POLICIES, policy_id, text, who, at, warnings)

    def set_resource_policy(self, text: str, who: Administrator, at: int) -> Stored:
        """Store the policy that decides on release. Raises `MalformedRequest` naming what does not compile."""
        warnings = _reviewed(lambda: check_release_policy(self._engine, text))
        return self._set_policy(RESOURCE_POLICIES, RESOURCE_POLICY, text, who, at, warnings)

    def policies(self, space: str) -> tuple[StoredEntry, ...]:
        """The policies stored in ``space``; where there is none, a shipped one holds."""
        return self._storage.list(space)

    def policy(self, space: str, name: str) -> str:
        """A stored policy's text. Raises `ResourceNotFound`."""
        text = self._shelf.policy_text(space, name)
        if text is None:
            raise ResourceNotFound("admin.policy.absent", "no policy is stored under this id; the shipped one holds")
        return text

    def delete_policy(self, space: str, name: str, who: Administrator, at: int) -> None:
        """Go back to the shipped policy. Raises `ResourceNotFound`."""
        self._delete(space, name, who, at, "policy.delete")

    # -- reference values ----------------------------------------------------------------------------------------------

    def register_reference_values(self, message: bytes, who: Administrator, at: int) -> tuple[Stored, ...]:
        """Store what a registration message brings, all of it or nothing. Raises `MalformedRequest`."""
        try:
            values = read_message(message)
        except VerifierSetupError as error:
            raise MalformedRequest(error.id, error.detail, expected=error.expected, got=error.got) from None
        with self._transactions():
            stored = tuple(Stored(value.name, self._storage.put(REFERENCE_VALUES, value.name, stored_form(value)))
                           for value in values)
            self._record(who, at, "reference_value.set", {"names": [value.name for value in values]},
                         {value.name: value.plain() for value in values})
        return stored

    def reference_values(self) -> tuple[ReferenceValue, ...]:
        """All that are stored, expired ones included."""
        return self._shelf.reference_values().entries

    def reference_value(self, name: str) -> ReferenceValue:
        """One of them. Raises `ResourceNotFound`."""
        record = self._storage.get(REFERENCE_VALUES, name) if name.isprintable() and 0 < len(name) <= 256 else None
        if record is None:
            raise ResourceNotFound("admin.reference_value.absent", "no reference value has this name")
        return reference_value(name, record.value)

    def delete_reference_value(self, name: str, who: Administrator, at: int) -> None:
        """Forget one. Raises `ResourceNotFound`."""
        self._delete(REFERENCE_VALUES, self.reference_value(name).name, who, at, "reference_value.delete")

    # -- tokens --------------------------------------------------------------------------------------------------------

    def revoke_token(self, id: str, who: Administrator, at: int) -> None:
        """Nothing is released to the token with this ``jti`` any more. Raises `MalformedRequest`."""
        if _TOKEN_ID.match(id) is None:
            raise MalformedRequest("admin.token_id", "not a token id")
        with self._transactions():
            self._storage.put(REVOKED_TOKENS, id, b"revoked")
            self._record(who, at, "token.revoke", {"token": id})

    def _set_policy(self, space: str, name: str, text: str, who: Administrator, at: int,
                    warnings: Sequence[str]) -> Stored:
        with self._transactions():
            version = self._storage.put(space, name, text.encode())
            digest = hashlib.sha256(text.encode()).digest()
            self._record(who, at, "policy.set", {"space": space, "policy": name, "version": version, "digest": digest})
        return Stored(name, version, tuple(warnings))

    def _delete(self, space: str, name: str, who: Administrator, at: int, action: str) -> None:
        with self._transactions():
            if not self._storage.delete(space, name):
                raise ResourceNotFound("admin.absent", "nothing is stored under this name")
            self._record(who, at, action, {"space": space, "name": name})

    def _record(self, who: Administrator, at: int, action: str, subject: Mapping[str, Any],
                decision: Mapping[str, Any] | None = None) -> None:
        by = {"action": action, "identity": who.identity, "role": who.role, "administrator": who.subject}
        self._audit.append(Entry(Kind.ADMIN, Outcome.ALLOWED, None, {**by, **subject}, decision), at)


def _reviewed(review: Callable[[], list[str]]) -> list[str]:
    """The review's warnings; what must not be stored as `MalformedRequest`."""
    try:
        return review()
    except PolicyError as error:
        line = "" if error.line is None else f" (line {error.line})"
        raise MalformedRequest(error.id, error.detail + line, expected=error.expected, got=error.got) from None
