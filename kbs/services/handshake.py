"""RCAR without HTTP: a challenge, one attestation, one token.

    issued ──attest──▶ taken, attested     a token exists; the session's cookie yields it
       │     └───────▶ taken, refused      nothing more comes of this challenge
       └──time───────▶ expired

A challenge is remembered only once it is taken, and it is taken in the same transaction that writes the outcome into
the audit log: whatever happens meanwhile, one attestation at most is ever answered with a token.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from kbs import metrics
from kbs.audit.established import Established
from kbs.audit.record import AuditLog, Entry, Kind, Record
from kbs.errors import KbsError, SessionInvalid, StorageError
from kbs.protocol import messages
from kbs.services import trees, verification
from kbs.services.decisions import Case, Refused, as_kbs_error, thumbprint
from kbs.services.init_data_claims import init_data_claims
from kbs.services.remembered import Remembered
from kbs.services.shelf import Shelf
from kbs.services.tokens import Tokens
from kbs.services.verification import Verification
from kbs.sessions.base import Sessions
from kbs.sessions.challenge import Challenge, Challenges
from kbs.storage.base import Transactions
from verifier.results.attestation_result import AttestationResult
from verifier.results.ear import ear_claims

VERIFIER_ID = {"build": f"attestkit {version('attestkit')}", "developer": "attestkit"}
SWEEP_SECONDS = 60
# Most guests ask for their secrets at once, on the connection they attested on.
REMEMBERED_TOKENS = 2048
MAX_REMEMBERED_TOKEN = 16 * 1024

_LOG = logging.getLogger("kbs.handshake")


@dataclass(frozen=True, slots=True)
class Issued:
    """The answer to a guest that asks for a challenge. ``lifetime``: seconds."""

    message: messages.Challenge
    cookie: str
    lifetime: int


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What every token says. ``lifetime``: seconds."""

    issuer: str
    audience: str
    lifetime: int


@dataclass(kw_only=True)
class Handshake:
    """The state machine; its members are the ports it needs."""

    challenges: Challenges
    sessions: Sessions
    verification: Verification
    shelf: Shelf
    tokens: Tokens
    terms: TokenTerms
    audit: AuditLog
    transactions: Transactions
    session_lifetime: int
    _swept_at: int = field(default=0, init=False)
    _earned: Remembered[str] = field(init=False, repr=False)
    established: Established = field(init=False)

    def __post_init__(self) -> None:
        self.established = Established(self.audit)
        self._earned = Remembered(REMEMBERED_TOKENS)

    def challenge(self, body: bytes, at: int) -> Issued:
        """Nothing is remembered. Raises `ProtocolError` or `TooLarge`."""
        request = messages.decode_request(body)
        tee = self.verification.admit(request.tee)
        challenge, cookie = self.challenges.issue(tee.value, at)
        message = messages.Challenge(nonce=base64.b64encode(challenge.nonce).decode(), extra_params="")
        return Issued(message, cookie, self.session_lifetime)

    def attest(self, cookie: str | None, body: bytes, at: int, peer: str) -> str:
        """The token that the guest's evidence earns. Raises `Refused`; either way the audit log has it first."""
        case = Case(Kind.ATTESTATION, {"peer": peer})
        challenge: Challenge | None = None
        try:
            challenge = self._open(case, cookie, at)
            token = self._judge(case, challenge, body, at)
            outcome, entry = challenge.seal(token), case.entry().written()
            with self._writing(case, at) as append:
                self.sessions.take(challenge.id, expires_at=challenge.expires_at, outcome=outcome)
                append(entry)
            if len(token) <= MAX_REMEMBERED_TOKEN:
                self._earned.put(challenge.id, token)
        except Exception as error:  # noqa: BLE001 - every refusal is written down, whatever caused it
            raise self._refuse(case, challenge, as_kbs_error(error), at) from None
        metrics.ATTESTATIONS.labels(challenge.tee, "allowed").inc()
        self._sweep(at)
        return token

    def token_of(self, cookie: str, at: int) -> str:
        """The token of an attested session. Raises `SessionInvalid`."""
        challenge = self.challenges.open(cookie, at)
        return self._earned.get(challenge.id) or self._stored_token(challenge)

    def _stored_token(self, challenge: Challenge) -> str:
        """Of a session that was attested before somebody else, or long ago."""
        taken = self.sessions.find(challenge.id)
        if taken is None:
            raise SessionInvalid("session.not_attested", "the session was not attested")
        if taken.outcome is None:
            raise SessionInvalid("session.refused", "the session's attestation was refused")
        return challenge.open(taken.outcome)

    @contextmanager
    def _writing(self, case: Case, at: int) -> Iterator[Callable[[Entry], Record]]:
        """A transaction, and what ends it: the case's entry, after whatever it refers to and the log has not yet."""
        missing = self.established.missing(case.established)

        def append(entry: Entry) -> Record:
            self.established.append(missing, at)
            return self.audit.append(entry, at)

        with self.transactions():
            yield append
        self.established.note(missing)

    def _sweep(self, at: int) -> None:
        """Forget expired challenges now and then. A failure is not the guest's, whose token is already earned."""
        if at - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = at
        try:
            self.sessions.sweep(at)
        except StorageError as error:
            _LOG.warning("expired challenges were not swept: %s", error.id)

    def _open(self, case: Case, cookie: str | None, at: int) -> Challenge:
        if not cookie:
            raise SessionInvalid("session.missing", "there is no session cookie; ask for a challenge first")
        challenge = self.challenges.open(cookie, at)
        case.subject |= {"tee": challenge.tee, "challenge": challenge.id}
        return challenge

    def _judge(self, case: Case, challenge: Challenge, body: bytes, at: int) -> str:
        message = messages.decode_attestation(body)
        case.subject["key"] = thumbprint(message.runtime_data.tee_pubkey)
        document = verification.read_init_data(message)
        tee = self.verification.admit(challenge.tee)
        parts = self.verification.prepare(tee, challenge.nonce, message, document)
        submodules = self.verification.judge(parts, at)
        case.decision["verification"] = trees.of_verdicts(submodules, case.established)
        claims = verification.accepted(submodules)
        runtime = {"nonce": message.runtime_data.nonce, "tee-pubkey": dict(message.runtime_data.tee_pubkey)}
        result = self.shelf.in_force().appraiser.appraise(
            claims, runtime_data=runtime, init_data_claims=init_data_claims(document) if document else None, at=at)
        case.decision["appraisal"] = trees.of_result(result)
        return self._token(case, result, message.runtime_data.nonce, at)

    def _token(self, case: Case, result: AttestationResult, nonce: str, at: int) -> str:
        jti = secrets.token_urlsafe(18)
        claims = ear_claims(result, issued_at=at, issuer=self.terms.issuer, verifier_id=VERIFIER_ID,
                            lifetime=self.terms.lifetime, audience=self.terms.audience, nonce=nonce, jti=jti)
        case.subject |= {"token": jti, "status": result.status, "software": result.software}
        return self.tokens.issue(claims)

    def _refuse(self, case: Case, challenge: Challenge | None, error: KbsError, at: int) -> Refused:
        """Take the challenge, write the refusal down, and hand back what to raise."""
        with self._writing(case, at) as append:
            if challenge is not None and error.id != "session.spent":
                try:
                    self.sessions.take(challenge.id, expires_at=challenge.expires_at, outcome=None)
                except SessionInvalid:
                    case.decision["challenge"] = "was used before"
            record = append(case.entry(error))
        metrics.ATTESTATIONS.labels(challenge.tee if challenge else "unknown", "refused").inc()
        return Refused(error, record.reference)
