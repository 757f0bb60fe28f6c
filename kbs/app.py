"""Puts a broker together: the only place where adapters are chosen.

    the state folder (0700)
      keys/sealing.key     AES-256 key of everything stored        keys/challenge.key   HMAC key of session cookies
      keys/audit.key       HMAC key of the audit log's head        keys/token.pem       keys of attestation tokens
      admin.pem            public key of the administrator that `kbs init` made; admin.key its private half
      kbs.sqlite           unless another database is configured

Keys are made at first start. Brokers that share a database share these key files too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from kbs.audit.sql import SqlAuditLog
from kbs.config import Config
from kbs.errors import Conflict, KbsError, SetupError
from kbs.plugins.resource import ResourcePlugin
from kbs.services import token_keys
from kbs.services.admin import Administration
from kbs.services.admin_tokens import AdminIdentity, AdminTokens
from kbs.services.broker import Broker
from kbs.services.handshake import Handshake, TokenTerms
from kbs.services.release import ReleaseGate
from kbs.services.shelf import Shelf
from kbs.services.token_keys import TokenKey
from kbs.services.tokens import Tokens
from kbs.services.verification import EXPECTATIONS, Verification
from kbs.sessions.challenge import Challenges
from kbs.sessions.sql import SqlSessions
from kbs.storage import keyfile
from kbs.storage.database import Database
from kbs.storage.engine import sqlite_url
from kbs.storage.kept import KeptStorage
from kbs.storage.sealed import SealedStorage
from kbs.storage.sql import SqlStorage
from kbs.web.access import GuardedFlask
from kbs.web.factory import create_web
from kbs.web.gateway import Gateway
from kbs.web.rate_limit import Buckets
from verifier.appraisal.expectations import Expectations
from verifier.collateral.files import load, read_bounded
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import VerifierError
from verifier.policy.rego import RegoEngine
from verifier.verify import Verifier

_LOG = logging.getLogger("kbs.app")

V = TypeVar("V")

TOKEN_KEYS_SECONDS = 1
COLLATERAL_SECONDS = 60


class State:
    """The state folder and the database. Opening it for the first time makes its keys and begins its audit log."""

    def __init__(self, config: Config) -> None:
        self.folder = keyfile.private_folder(config.state)
        self.keys = keyfile.private_folder(self.folder / "keys")
        self.database = Database(self._url(config), durability=config.durability, pool_size=config.thread_count + 2)
        try:
            self.database.prepare()
            self.kept = KeptStorage(SqlStorage(self.database))
            self.storage = SealedStorage(self.kept, self.key("sealing"))
            self.audit_key = self.key("audit")
            self.audit = SqlAuditLog(self.database, self.audit_key)
            self._begin()
        except BaseException:
            self.database.close()
            raise

    def key(self, name: str) -> bytes:
        """The 32 bytes of ``keys/<name>.key``, made when they are first asked for."""
        return keyfile.read_or_create(self.keys / f"{name}.key")

    @property
    def token_keys(self) -> Path:
        """The file of the token keys, made when it is first asked for."""
        path = self.keys / "token.pem"
        if not path.exists():
            keyfile.create(path, token_keys.generate())
        return path

    def _url(self, config: Config) -> str:
        if config.database:
            return config.database
        path = self.folder / "kbs.sqlite"
        if not path.exists():
            keyfile.create(path, b"")  # an empty file is an empty database, and its mode is that of its journals
        return sqlite_url(path)

    def _begin(self) -> None:
        """Mark a new database with its key and begin its log, both or neither; whoever comes second finds both."""
        for _ in range(2):
            try:
                with self.database.transaction():
                    if self.storage.prove_key():
                        self.audit.begin()
            except Conflict:
                continue
            return
        raise SetupError("app.begin", "the database is being set up by somebody else")


class Reloading(Generic[V]):
    """What ``load`` makes of ``paths``, made again when they changed, looked at every ``seconds`` at most.

    A change that cannot be loaded leaves what was there in force, and says so in the log.
    """

    def __init__(self, load: Callable[[], V], paths: Iterable[Path], seconds: float) -> None:
        self._load, self._paths, self._seconds = load, tuple(paths), seconds
        self._lock = Lock()
        self._seen = self._state()
        self._value = load()
        self._looked_at = time.monotonic()

    def __call__(self) -> V:
        if time.monotonic() - self._looked_at >= self._seconds:
            with self._lock:
                self._look()
        return self._value

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        seen = self._state()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._value = self._load()
        except (KbsError, VerifierError, OSError) as error:
            told = getattr(error, "id", type(error).__name__)
            _LOG.error("what changed on disk is not usable, the former stays in force", extra={"error": told})

    def _state(self) -> tuple[tuple[str, int, int, int], ...]:
        """Every file with its identity, size and time of change."""
        found = [file for path in self._paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
        stats = [(file, file.stat()) for file in found if file.exists()]
        return tuple((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


def create_broker(config: Config, *, clock: Callable[[], float] = time.time) -> Broker:
    """A broker on its state folder. ``clock`` gives Unix seconds. Raises `KbsError` when it cannot be set up."""
    state = State(config)
    try:
        return _assemble(config, state, clock)
    except VerifierError as error:
        state.database.close()
        raise SetupError(error.id, error.detail, expected=error.expected, got=error.got) from None
    except BaseException:
        state.database.close()
        raise


def create_app(config: Config, broker: Broker | None = None) -> GuardedFlask:
    """The web application; ``broker`` None makes one."""
    limits = config.limits
    buckets = Buckets(limits.requests_per_second, limits.burst, time.monotonic) if limits.requests_per_second else None
    return create_web(broker or create_broker(config), url=config.url, buckets=buckets,
                      secure_cookies=config.url.startswith("https:"))


def create_gateway(config: Config, broker: Broker | None = None) -> Gateway:
    """What granian serves: the web application behind bounded bodies; ``broker`` None makes one."""
    broker = broker or create_broker(config)
    application = create_app(config, broker)

    @contextmanager
    def one_round() -> Iterator[None]:
        with broker.one_moment(), application.together():
            yield

    return Gateway(application, config.thread_count, disk=broker.disk, body_seconds=config.limits.body_seconds,
                   around=one_round)


def _assemble(config: Config, state: State, clock: Callable[[], float]) -> Broker:
    engine = RegoEngine()
    shelf = Shelf(state.storage, engine)
    keys = _token_keys(state.token_keys)
    terms = TokenTerms(config.token.issuer or config.url, config.token.audience or config.url, config.token.lifetime)
    tokens = Tokens(keys, issuer=terms.issuer, audience=terms.audience)
    handshake = Handshake(
        challenges=Challenges(state.key("challenge"), config.session.lifetime), sessions=SqlSessions(state.database),
        verification=_verification(config), shelf=shelf, tokens=tokens, terms=terms, audit=state.audit,
        transactions=state.database.transaction, session_lifetime=config.session.lifetime)
    gate = ReleaseGate(token_of=handshake.token_of, tokens=tokens, shelf=shelf, audit=state.audit,
                       plugins=[ResourcePlugin(state.storage)])
    administration = Administration(storage=state.storage, shelf=shelf, engine=engine, audit=state.audit,
                                    transactions=state.database.transaction)
    return Broker(handshake=handshake, gate=gate, administration=administration,
                  admin_tokens=_admin_tokens(config, state.folder), shelf=shelf, audit=state.audit, token_keys=keys,
                  clock=clock, close=state.database.close, disk=state.database.flush, one_moment=state.kept.one_moment)


def _verification(config: Config) -> Verification:
    trust = config.trust
    roots = Roots.makers().with_software(read_bounded(path) for path in trust.software_roots)
    roots = roots.with_provisioned(read_bounded(path) for path in trust.provisioned_keys)
    if config.insecure_sample_tee:
        _LOG.warning("insecure_sample_tee: unsigned evidence is let through; it never counts as hardware")
        roots = roots.with_insecure_sample()
    expectations = Expectations.from_file(read_bounded(trust.expectations)) if trust.expectations else EXPECTATIONS
    collateral: Callable[[], Collateral] = Reloading(lambda: load(trust.collateral), trust.collateral,
                                                     COLLATERAL_SECONDS)
    return Verification(Verifier(roots, expectations), collateral, insecure_sample_tee=config.insecure_sample_tee)


def _token_keys(path: Path) -> Callable[[], Sequence[TokenKey]]:
    return Reloading(lambda: token_keys.read(keyfile.read(path)), [path], TOKEN_KEYS_SECONDS)


def _admin_tokens(config: Config, folder: Path) -> AdminTokens:
    """The configured identities; without any, the one whose key `kbs init` left in the state folder."""
    identities = [AdminIdentity.from_pem(identity.name, read_bounded(identity.key), identity.issuer, identity.audience)
                  for identity in config.admin.identity]
    own = folder / "admin.pem"
    if not identities and own.exists():
        identities = [AdminIdentity.from_pem("init", read_bounded(own))]
    return AdminTokens(identities, config.admin.roles)
