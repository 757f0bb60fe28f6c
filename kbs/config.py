"""What an operator can set: ``kbs.toml``, then the environment, with defaults that need neither.

Every key is a member below; an unknown one is refused with the nearest known name. ``KBS_LISTEN`` sets ``listen``,
``KBS_TOKEN_LIFETIME`` sets ``lifetime`` of ``[token]``; lists are separated by commas. Relative paths in a file are
taken from the file's folder. Whatever lowers protection has ``insecure`` in its name.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from kbs.errors import SetupError

MAX_CONFIG_BYTES = 1024 * 1024

Seconds = Annotated[int, Meta(ge=10, le=3600)]
Count = Annotated[int, Meta(ge=1, le=256)]
Rate = Annotated[int, Meta(ge=0, le=1_000_000)]

# A database on another machine is waited for at every statement, an SQLite file hardly ever.
_THREADS_WITH_DATABASE = 4


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Tls(Section, frozen=True):
    """``certificate`` (PEM chain, leaf first) and ``key`` (PEM, PKCS #8); both or neither."""

    certificate: Path | None = None
    key: Path | None = None


class Trust(Section, frozen=True):
    """What evidence is judged by.

    software_roots: certificates of software TEEs; what they vouch for is marked ``software`` and never affirmed by the
        default policies. provisioned_keys: attestation keys (PEM or JWK) of machines whose maker publishes no root: Arm
        CCA platforms, bare TPMs. Whoever names one here says that hardware holds it. collateral: folders and files with
        the makers' endorsements. expectations: a file of demands on all evidence, as ``verifier verify --expect`` takes
        it; None means the verifier's defaults.
    """

    software_roots: tuple[Path, ...] = ()
    provisioned_keys: tuple[Path, ...] = ()
    collateral: tuple[Path, ...] = ()
    expectations: Path | None = None


class Session(Section, frozen=True):
    """``lifetime``: seconds from challenge to the session's end."""

    lifetime: Seconds = 300


class Token(Section, frozen=True):
    """``lifetime`` in seconds; ``issuer`` and ``audience`` are the public URL where they are empty."""

    lifetime: Seconds = 300
    issuer: str = ""
    audience: str = ""


class Identity(Section, frozen=True):
    """One who may sign admin tokens.

    key: the public key's file (PEM): Ed25519 signs EdDSA, P-256 ES256, RSA from 2048 bits RS256.
    issuer, audience: what ``iss`` and ``aud`` must be; empty leaves them unchecked.
    """

    name: str
    key: Path
    issuer: str = ""
    audience: str = ""


class Admin(Section, frozen=True):
    """Who administers.

    identity: without any, the key that ``kbs init`` made in the state folder is the only one. roles: role to a pattern
    that the whole request path and query must match, from ``^/kbs`` to ``$``; a role that is not here may do nothing.
    """

    identity: tuple[Identity, ...] = ()
    roles: dict[str, str] = msgspec.field(default_factory=lambda: {"admin": "^/kbs/v0/.*$"})


class Limits(Section, frozen=True):
    """``requests_per_second`` and ``burst`` bound each address that is not this machine; 0 bounds nobody.
    ``body_seconds``: how long a request's body may take to arrive."""

    requests_per_second: Rate = 50
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 200
    body_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10


class Config(Section, frozen=True):
    """Everything.

    state: the folder of keys and of the SQLite file. listen: ``address:port``. public_url: how guests reach this
    broker; empty means the address it listens on. database: empty for SQLite in the state folder, or
    ``postgresql://…``. threads: of each worker; 0 means one with SQLite, and four with a database that is waited for.
    durability: ``full`` answers when the disk has every commit that the answer rests on, ``normal`` may lose the last
    ones when the power fails.
    """

    state: Path
    listen: str = "127.0.0.1:8080"
    public_url: str = ""
    workers: Count = 1
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    database: str = ""
    durability: Literal["full", "normal"] = "full"
    insecure_http: bool = False
    insecure_sample_tee: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tls: Tls = Tls()
    trust: Trust = Trust()
    session: Session = Session()
    token: Token = Token()
    admin: Admin = msgspec.field(default_factory=Admin)
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if (self.tls.certificate is None) != (self.tls.key is None):
            raise SetupError("config.tls", "TLS needs certificate and key")
        for role, pattern in self.admin.roles.items():
            _check_role(role, pattern)
        host, _ = self.address
        if not (is_loopback(host) or self.tls.certificate or self.insecure_http):
            raise SetupError("config.insecure_http", f"{host} is reachable from elsewhere: configure [tls], or say "
                             "insecure_http = true", expected="a loopback address", got=self.listen)

    def __repr__(self) -> str:
        return f"Config(state={self.state}, listen={self.listen})"  # the database's URL may hold a password

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises `SetupError`."""
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", self.listen)
        if match is None or int(match[3]) > 65535:
            raise SetupError("config.listen", "not an address to listen on", expected="address:port", got=self.listen)
        return match[1] or match[2], int(match[3])

    @property
    def thread_count(self) -> int:
        """How many threads a worker answers with."""
        return self.threads or (_THREADS_WITH_DATABASE if self.database else 1)

    @property
    def url(self) -> str:
        """How guests reach this broker, without a slash at the end."""
        scheme = "https" if self.tls.certificate else "http"
        return (self.public_url or f"{scheme}://{self.listen}").rstrip("/")


def load(path: Path | None = None, environment: Mapping[str, str] | None = None, **overrides: Any) -> Config:
    """The configuration in ``path`` (None: no file) under ``environment``'s and then ``overrides``' values.

    ``overrides`` that are None are left out. Raises `SetupError` naming the key.
    """
    surroundings = os.environ if environment is None else environment
    table = _read(path) if path else {}
    _refuse_unknown(table, Config, "")
    for keys, value in _from_environment(Config, surroundings, ()):
        target = table
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = value
    table |= {name: value for name, value in overrides.items() if value is not None}
    table.setdefault("state", str(default_state(surroundings)))
    config: Config = _converted(table, Config, path.parent.absolute() if path else Path.cwd())
    return config


def default_state(environment: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/attestkit/kbs``, by default under ``~/.local/state``."""
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return _named_path(base, "state") / "attestkit" / "kbs"


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``; a name other than localhost is taken for reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise SetupError("config.file", f"{path} is too large", expected=f"<= {MAX_CONFIG_BYTES} bytes")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise SetupError("config.file", f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError("config.file", f"{path} is not TOML: {error}") from None


def _refuse_unknown(table: dict[str, Any], kind: type[Section], prefix: str) -> None:
    known = {member.name: member.type for member in msgspec.structs.fields(kind)}
    for name, value in table.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise SetupError("config.unknown", f"there is no setting {prefix}{name}{hint}",
                             expected=", ".join(sorted(known)), got=prefix + name)
        if _is_section(known[name]) and isinstance(value, dict):
            _refuse_unknown(value, known[name], f"{prefix}{name}.")


def _from_environment(kind: type[Section], environment: Mapping[str, str],
                      above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where each variable that is set belongs, and its value as TOML would have given it."""
    for member in msgspec.structs.fields(kind):
        keys = (*above, member.name)
        text = environment.get("_".join(("KBS", *keys)).upper())
        if _is_section(member.type):
            yield from _from_environment(member.type, environment, keys)
        elif text is not None and member.name not in ("identity", "roles"):
            yield keys, _from_text(text, member.type, keys)


def _from_text(text: str, kind: Any, keys: tuple[str, ...]) -> Any:
    where = ".".join(keys)
    if kind == tuple[Path, ...]:
        return [str(_named_path(item, where).absolute()) for item in text.split(",") if item]
    if kind in (Path, Path | None):
        return str(_named_path(text, where).absolute())
    return _converted(text, kind, Path.cwd(), where, strict=False)


def _named_path(text: str, where: str) -> Path:
    try:
        return _expanded(text)
    except ValueError as error:
        raise SetupError(f"config.{where}", f"{where} is not acceptable: {error}") from None


def _expanded(text: str) -> Path:
    """``text`` with the home folder that it begins with. Raises ValueError when that is nobody's."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"whose home folder {text} is in is not known") from None


def _converted(value: Any, kind: Any, folder: Path, where: str = "", *, strict: bool = True) -> Any:
    def path(wanted: type, given: Any) -> Any:
        if wanted is Path and isinstance(given, str) and given:
            return folder / _expanded(given)
        raise ValueError(f"expected a path, got {given!r}")

    try:
        return msgspec.convert(value, kind, strict=strict, dec_hook=path)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at ")
        key = where or at.strip("`").removeprefix("$").removeprefix(".") or "file"
        raise SetupError(f"config.{key}", f"{key} is not acceptable: {message}") from None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _check_role(role: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise SetupError("config.admin.roles", f"the pattern of role {role} is no regular expression: {error}",
                         got=pattern) from None
    if not (pattern.startswith("^/kbs") and pattern.endswith("$")):
        raise SetupError("config.admin.roles", f"the pattern of role {role} must span the whole path",
                         expected="^/kbs…$", got=pattern)
