"""The messages of the handshake and their JSON (RCAR 0.4.0).

    guest                                     broker
    Request   ── POST /kbs/v0/auth ────────▶
              ◀── Challenge, session cookie ──
    Attestation ─ POST /kbs/v0/attest ─────▶
              ◀── TokenAnswer ────────────────
              ── GET /kbs/v0/resource/… ───▶
              ◀── flattened JWE (`jwe`) ──────

What the guest sends may hold no unknown member: one that the broker does not read is one that it does not hash. Answers
may, so that brokers can add to them. Every refusal of the broker carries an `ErrorBody`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kbs.errors import KbsError, MalformedAnswer, MalformedRequest, UnsupportedVersion
from kbs.protocol import wire

PROTOCOL_VERSION = "0.4.0"
API_PREFIX = "/kbs/v0"
SESSION_COOKIE = "kbs-session-id"
ERROR_TYPE_PREFIX = "https://github.com/confidential-containers/kbs/errors/"

NONCE_BYTES = 32
MAX_REQUEST_BYTES = 16 * 1024
MAX_ATTESTATION_BYTES = 4 * 1024 * 1024
MAX_CHALLENGE_BYTES = 64 * 1024
MAX_TOKEN_ANSWER_BYTES = 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_RESOURCE_BYTES = 8 * 1024 * 1024

TeeName = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,32}\Z")]
Jwk = Annotated[dict[str, Annotated[str, Meta(max_length=2048)]], Meta(max_length=8)]


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """The guest says what it is. ``extra_params`` is any JSON; our guest offers hash algorithms in it."""

    version: str = PROTOCOL_VERSION
    tee: TeeName
    extra_params: Any = ""


class Challenge(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """``nonce``: standard padded base64 of `NONCE_BYTES` random bytes (for IBM SE a JSON text instead).

    extra_params: an empty string, or ``{"selected-hash-algorithm": …}``.
    """

    nonce: Annotated[str, Meta(min_length=1, max_length=MAX_CHALLENGE_BYTES)]
    extra_params: Any = ""


class InitDataDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The init-data document itself, as text; its digest is taken over these very bytes (`init_data`)."""

    format: Literal["toml"]
    body: str


class RuntimeData(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """What the evidence must bind: the challenge's nonce, character for character, and the guest's key as a JWK."""

    nonce: Annotated[str, Meta(min_length=1, max_length=MAX_CHALLENGE_BYTES)]
    tee_pubkey: Jwk


class TeeEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``primary_evidence``: any JSON, by TEE; ``additional_evidence``: empty, or JSON text, TEE name to evidence."""

    primary_evidence: Any
    additional_evidence: str


class Attestation(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """The guest proves what it is. ``init_data`` is None when the guest was given none."""

    init_data: InitDataDocument | None = None
    runtime_data: RuntimeData
    tee_evidence: TeeEvidence


class TokenAnswer(msgspec.Struct, frozen=True):
    """``token``: the EAR as a compact JWT. A bearer credential: it stays out of `repr`."""

    token: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_ANSWER_BYTES)]

    def __repr__(self) -> str:
        return "TokenAnswer(token=…)"


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """A refusal: ``type`` is a URI under `ERROR_TYPE_PREFIX`.

    id: the stable dotted error id; reference: what to quote to the operator, who finds the reasons under it. Brokers
    other than ours send neither.
    """

    type: str
    detail: str
    id: str | None = None
    reference: str | None = None

    @property
    def variant(self) -> str:
        """The last segment of ``type`` (``PolicyDeny``), or the whole where it is of another kind."""
        return self.type.removeprefix(ERROR_TYPE_PREFIX)


def decode_request(body: bytes) -> Request:
    """Raises `MalformedRequest`, `TooLarge` or, for any version but `PROTOCOL_VERSION`, `UnsupportedVersion`."""
    request = wire.decode(_REQUEST, body, "request", MAX_REQUEST_BYTES, MalformedRequest)
    if request.version != PROTOCOL_VERSION:
        raise UnsupportedVersion("protocol.request.version", "this protocol version is not spoken here",
                                 expected=PROTOCOL_VERSION, got=request.version[:32])
    return request


def decode_challenge(body: bytes) -> Challenge:
    """Raises `MalformedAnswer` or `TooLarge`. The nonce is not decoded here: see `nonce_bytes`."""
    return wire.decode(_CHALLENGE, body, "challenge", MAX_CHALLENGE_BYTES, MalformedAnswer)


def decode_attestation(body: bytes) -> Attestation:
    """Shape only: neither key (`tee_pubkey`) nor evidence is looked at. Raises `MalformedRequest` or `TooLarge`."""
    return wire.decode(_ATTESTATION, body, "attestation", MAX_ATTESTATION_BYTES, MalformedRequest)


def decode_additional_evidence(text: str) -> dict[str, Any]:
    """TEE name to evidence; empty for the empty string. Raises `MalformedRequest`."""
    if not text:
        return {}
    return wire.decode(_ADDITIONAL, text.encode(), "additional_evidence", MAX_ATTESTATION_BYTES, MalformedRequest)


def decode_token_answer(body: bytes) -> TokenAnswer:
    """Raises `MalformedAnswer` or `TooLarge`; the token is not verified."""
    return wire.decode(_TOKEN, body, "token_answer", MAX_TOKEN_ANSWER_BYTES, MalformedAnswer)


def decode_error(body: bytes) -> ErrorBody:
    """Raises `MalformedAnswer` or `TooLarge`: proxies answer with pages of their own."""
    return wire.decode(_ERROR, body, "error", MAX_ERROR_BYTES, MalformedAnswer)


def encode(message: Request | Challenge | Attestation | TokenAnswer | ErrorBody) -> bytes:
    """The message as compact JSON, members in declaration order."""
    return msgspec.json.encode(message)


def nonce_bytes(nonce: str, fault: type[KbsError] = MalformedAnswer) -> bytes:
    """The `NONCE_BYTES` bytes of a challenge's nonce; anything else raises ``fault``."""
    return wire.base64_bytes(nonce, "protocol.nonce", "nonce", fault, size=NONCE_BYTES)


_REQUEST = msgspec.json.Decoder(Request)
_CHALLENGE = msgspec.json.Decoder(Challenge)
_ATTESTATION = msgspec.json.Decoder(Attestation)
_ADDITIONAL = msgspec.json.Decoder(Annotated[dict[TeeName, Any], Meta(max_length=16)])
_TOKEN = msgspec.json.Decoder(TokenAnswer)
_ERROR = msgspec.json.Decoder(ErrorBody)
