"""One handshake: challenge, evidence, token (RCAR 0.4.0).

    1  POST /auth            which TEE, and the hashes we know
    2  the challenge         nonce of exactly 32 bytes, a hash among those we offered, a session cookie
    3  report data           digest over nonce and our key, placed as the TEE has it
    4  evidence              from the attester; with init data, the hardware must vouch for it
    5  POST /attest          with the cookie; never sent twice, because the challenge serves once
    6  the token             kept with the time it lives
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from attestation.attesters.base import Attester, to_json
from attestation.errors import BrokerError
from attestation.init_data import require_bound
from attestation.kbc.refusals import attestation_refusal, refusal
from attestation.kbc.token import lifetime_of
from attestation.kbc.transport import Answer, Transport
from kbs.errors import KbsError
from kbs.protocol import messages
from kbs.protocol.init_data import InitData
from kbs.protocol.messages import Attestation, Challenge, InitDataDocument, Request, RuntimeData, TeeEvidence
from kbs.protocol.runtime_data import HashAlgorithm, hash_offer, primary_digest, report_data_for, selected_hash
from verifier.evidence import Evidence

OFFERED_HASHES = (HashAlgorithm.SHA384, HashAlgorithm.SHA512)

_COOKIE = re.compile(rf"{messages.SESSION_COOKIE}=([!#-+\--:<-\[\]-~]{{1,4096}})(?:;|\Z)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Earned:
    """What an attestation brought. The token serves for ``lifetime`` seconds from ``at``, in the transport's time."""

    token: str = field(repr=False)
    cookie: str = field(repr=False)
    at: float
    lifetime: float

    @property
    def headers(self) -> dict[str, str]:
        """Session cookie and bearer token: brokers look for either."""
        return {"Authorization": f"Bearer {self.token}", "Cookie": f"{messages.SESSION_COOKIE}={self.cookie}"}


@dataclass(frozen=True, slots=True)
class Handshake:
    """Everything a handshake needs but its deadline. tee_pubkey: the JWK of the guest's key."""

    transport: Transport
    attester: Attester
    tee_pubkey: Mapping[str, str]
    init_data: InitData | None = None

    def run(self, deadline: float) -> Earned:
        """Raises `BrokerError`, `AttesterError`, or `Transient` when a whole new handshake may succeed."""
        request = Request(tee=self.attester.tee, extra_params=hash_offer(OFFERED_HASHES))
        answer = self._post("/auth", messages.encode(request), messages.MAX_CHALLENGE_BYTES, deadline)
        cookie = _session_cookie(answer)
        if cookie is None:
            raise BrokerError("kbc.session", "the broker's challenge came without a session cookie")
        attestation = self._attestation(request, answer.body)
        at = self.transport.now()
        answer = self._post("/attest", attestation, messages.MAX_TOKEN_ANSWER_BYTES, deadline, cookie)
        token = _read_token(answer.body)
        return Earned(token, _session_cookie(answer) or cookie, at, lifetime_of(token))

    def _attestation(self, request: Request, body: bytes) -> bytes:
        try:
            challenge = messages.decode_challenge(body)
            messages.nonce_bytes(challenge.nonce)
            evidence = self._evidence(request, challenge)
        except KbsError as error:
            raise _malformed(error) from error
        document = InitDataDocument("toml", self.init_data.body.decode()) if self.init_data else None
        return messages.encode(Attestation(
            init_data=document, runtime_data=RuntimeData(challenge.nonce, dict(self.tee_pubkey)),
            tee_evidence=TeeEvidence(to_json(evidence), additional_evidence="")))

    def _evidence(self, request: Request, challenge: Challenge) -> Evidence:
        digest = primary_digest(challenge.nonce, self.tee_pubkey, "", selected_hash(request, challenge))
        evidence = self.attester.evidence(report_data_for(self.attester.tee, digest))
        if self.init_data is not None:
            require_bound(self.init_data, evidence)
        return evidence

    def _post(self, path: str, body: bytes, limit: int, deadline: float, cookie: str | None = None) -> Answer:
        headers = {"Content-Type": "application/json"}
        if cookie is not None:
            headers["Cookie"] = f"{messages.SESSION_COOKIE}={cookie}"
        answer = self.transport.send("POST", messages.API_PREFIX + path, body=body, headers=headers, deadline=deadline,
                                     limit=max(limit, messages.MAX_ERROR_BYTES))
        if answer.status == 200:
            return answer
        raise attestation_refusal(answer) if cookie else refusal(answer, "a challenge")


def _session_cookie(answer: Answer) -> str | None:
    for header in answer.cookies:
        match = _COOKIE.match(header)
        if match:
            return match[1]
    return None


def _read_token(body: bytes) -> str:
    try:
        return messages.decode_token_answer(body).token
    except KbsError as error:
        raise _malformed(error) from error


def _malformed(error: KbsError) -> BrokerError:
    return BrokerError("kbc.malformed", f"the broker's answer is malformed: {error.detail} [{error.id}]",
                       expected=error.expected, got=error.got)
