"""The guest's client of one broker.

    client = BrokerClient(Transport(url, trust, time.monotonic), attester)
    key = client.resource("kbs:///default/image-kek/1")

One key pair per client, made once. One attestation serves every resource until its token is about to expire; callers
that need one at the same time share it, with its outcome. A secret is asked for again with a new attestation only when
the broker says 401 to a token that was not just earned.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from threading import Lock

from cryptography.hazmat.primitives.asymmetric import ec

from attestation.attesters.base import Attester
from attestation.errors import BrokerError, SetupError
from attestation.kbc.backoff import Clock, keep_trying
from attestation.kbc.handshake import Earned, Handshake
from attestation.kbc.refusals import ReattestError, refusal
from attestation.kbc.transport import Transport
from kbs.errors import KbsError, MalformedRequest
from kbs.protocol import jwe, messages, tee_pubkey
from kbs.protocol.init_data import InitData
from kbs.protocol.resource_uri import ResourceUri

DEFAULT_DEADLINE = 60.0
# A token is renewed this long before it expires, or after nine tenths of a short life.
EXPIRY_MARGIN = 30.0


class BrokerClient:
    """Safe to use from several threads. ``deadline``: seconds for one call, all retries included."""

    def __init__(self, transport: Transport, attester: Attester, *, init_data: InitData | None = None,
                 deadline: float = DEFAULT_DEADLINE, clock: Clock | None = None) -> None:
        self._transport = transport
        self._clock = clock or Clock(time.monotonic, time.sleep)
        self._deadline = deadline
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._handshake = Handshake(transport, attester, tee_pubkey.jwk_of(self._key.public_key()), init_data)
        self._lock = Lock()
        self._earned: tuple[Earned, float] | None = None
        self._attesting: Future[Earned] | None = None

    def token(self) -> str:
        """The attestation token (a compact JWT), valid for a while yet. Raises `BrokerError` or `AttesterError`."""
        return self._attest(self._clock.now() + self._deadline)[0].token

    def resource(self, uri: str) -> bytes:
        """The secret under ``uri``, any form of a resource URI (a host in it decides nothing).

        Raises `SetupError` for what is no URI, `AttesterError`, or `BrokerError`: ``kbc.denied``, ``kbc.not_found``,
        ``kbc.unauthenticated``, ``kbc.unavailable`` and others.
        """
        try:
            target = ResourceUri.parse(uri).target
        except MalformedRequest as error:
            raise SetupError("kbc.resource", f"no resource URI: {error.detail}", expected=error.expected) from error
        deadline = self._clock.now() + self._deadline
        earned, fresh = self._attest(deadline)
        try:
            return self._fetch(target, earned, deadline)
        except ReattestError:
            if fresh:
                raise
        self._forget(earned)
        return self._fetch(target, self._attest(deadline)[0], deadline)

    def _fetch(self, target: str, earned: Earned, deadline: float) -> bytes:
        def get() -> bytes:
            answer = self._transport.send("GET", f"{messages.API_PREFIX}/{target}", headers=earned.headers,
                                          limit=jwe.MAX_JWE_BYTES, deadline=deadline)
            if answer.status != 200:
                raise refusal(answer, target)
            return answer.body

        body = keep_trying(get, self._clock, deadline)
        try:
            return jwe.decrypt(body, self._key)
        except KbsError as error:
            raise BrokerError("kbc.envelope", f"{target}: the broker's answer {error.detail} [{error.id}]") from error

    def _attest(self, deadline: float) -> tuple[Earned, bool]:
        """What is held or newly earned, and whether it was earned during this very call."""
        with self._lock:
            if self._earned is not None and self._clock.now() < self._earned[1]:
                return self._earned[0], False
            running = self._attesting
            if running is None:
                self._attesting = mine = Future[Earned]()
        return (self._attest_for_all(mine, deadline) if running is None else self._await(running, deadline)), True

    def _attest_for_all(self, outcome: Future[Earned], deadline: float) -> Earned:
        try:
            earned = keep_trying(lambda: self._handshake.run(deadline), self._clock, deadline)
        except BaseException as error:
            self._settle(None)
            outcome.set_exception(error if isinstance(error, Exception) else _interrupted())
            raise
        self._settle(earned)
        outcome.set_result(earned)
        return earned

    def _await(self, running: Future[Earned], deadline: float) -> Earned:
        try:
            return running.result(max(0.0, deadline - self._clock.now()))
        except TimeoutError:
            raise BrokerError("kbc.deadline", "the broker did not answer in time") from None

    def _settle(self, earned: Earned | None) -> None:
        with self._lock:
            self._attesting = None
            if earned is not None:
                margin = min(EXPIRY_MARGIN, earned.lifetime / 10)
                self._earned = earned, earned.at + earned.lifetime - margin

    def _forget(self, earned: Earned) -> None:
        with self._lock:
            if self._earned is not None and self._earned[0] is earned:
                self._earned = None


def _interrupted() -> BrokerError:
    return BrokerError("kbc.interrupted", "the attestation that this waited for was interrupted")
