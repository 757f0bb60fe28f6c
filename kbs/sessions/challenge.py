"""The session cookie: a challenge that vouches for itself.

    payload = 01 || len(tee) (1) || tee || expiry (8, Unix seconds) || nonce (32)
    cookie  = base64url(payload || HMAC-SHA256(key, "attestkit kbs challenge v1" || 00 || payload))

Nothing is stored when a challenge is issued. Its `id`, a hash, is what storage knows of it. The token that the
challenge earned is stored encrypted under a key that only the cookie yields: the database alone gives nobody a token.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kbs.errors import SessionInvalid, StorageError
from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, base64url

NONCE_BYTES = 32
MAX_COOKIE_CHARACTERS = 512

_FORMAT = 1
_MAC_BYTES = 32
_FIXED_BYTES = 2 + 8 + NONCE_BYTES
_COOKIE_TAG = b"attestkit kbs challenge v1\x00"
_ID_TAG = b"attestkit kbs challenge id v1\x00"
_TOKEN_TAG = b"attestkit kbs session token v1"
_GCM_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge. ``nonce`` 32 random bytes; ``tee`` as the guest named it; ``expires_at`` Unix seconds, exclusive.

    id: 32 bytes by which it is remembered once taken. proof: the cookie's MAC, a secret of guest and broker.
    """

    nonce: bytes
    tee: str
    expires_at: int
    id: bytes
    proof: bytes = field(repr=False)

    def seal(self, token: str) -> bytes:
        """``token`` for storage; opens only with this challenge's cookie."""
        nonce = secrets.token_bytes(_GCM_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, token.encode(), self.id)

    def open(self, sealed: bytes) -> str:
        """The token again. Raises `StorageError` when it was altered or belongs to another challenge."""
        try:
            nonce, ciphertext = sealed[:_GCM_NONCE_BYTES], sealed[_GCM_NONCE_BYTES:]
            return self._cipher().decrypt(nonce, ciphertext, self.id).decode()
        except (InvalidTag, ValueError):
            raise StorageError("session.token", "the stored token was altered or moved") from None

    def _cipher(self) -> AESGCM:
        return AESGCM(hmac.digest(self.proof, _TOKEN_TAG, "sha256"))


class Challenges:
    """Issues and opens cookies. ``key``: 32 bytes, the same in every worker. ``lifetime`` in seconds."""

    def __init__(self, key: bytes, lifetime: int) -> None:
        self._key = key
        self._lifetime = lifetime

    def issue(self, tee: str, at: int) -> tuple[Challenge, str]:
        """A fresh challenge for a guest of kind ``tee`` (1..255 ASCII characters), and its cookie."""
        name = tee.encode("ascii")
        nonce = secrets.token_bytes(NONCE_BYTES)
        payload = bytes([_FORMAT, len(name)]) + name + (at + self._lifetime).to_bytes(8, "big") + nonce
        challenge = _challenge(payload, self._mac(payload))
        return challenge, base64url(payload + challenge.proof)

    def open(self, cookie: str, at: int) -> Challenge:
        """The challenge in ``cookie``. Raises `SessionInvalid` unless it is ours and ``at`` is before its end."""
        payload, proof = _split(cookie)
        if not hmac.compare_digest(self._mac(payload), proof):
            raise SessionInvalid("session.forged", "the session cookie is not one of this broker's")
        challenge = _challenge(payload, proof)
        if at >= challenge.expires_at:
            raise SessionInvalid("session.expired", "the session has expired",
                                 expected=f"before {challenge.expires_at}", got=at)
        return challenge

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, _COOKIE_TAG + payload, "sha256")


def _challenge(payload: bytes, proof: bytes) -> Challenge:
    end = 2 + payload[1]
    return Challenge(nonce=payload[end + 8:], tee=payload[2:end].decode("ascii"),
                     expires_at=int.from_bytes(payload[end:end + 8], "big"),
                     id=hashlib.sha256(_ID_TAG + payload).digest(), proof=proof)


def _split(cookie: str) -> tuple[bytes, bytes]:
    """Payload and MAC by their lengths alone; one text per cookie, so that no second spelling opens."""
    try:
        if len(cookie) > MAX_COOKIE_CHARACTERS:
            raise MalformedEvidence("session.malformed", "too long")
        data = base64_bytes(cookie, "cookie", url=True)
    except MalformedEvidence:
        raise _malformed() from None
    payload, proof = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
    if len(payload) < _FIXED_BYTES or payload[0] != _FORMAT or len(payload) != _FIXED_BYTES + payload[1]:
        raise _malformed()
    return payload, proof


def _malformed() -> SessionInvalid:
    return SessionInvalid("session.malformed", "the session cookie is not one of this broker's")
