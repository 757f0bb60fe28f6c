"""The keys that sign attestation tokens: one file of PEM blocks, the first of which signs.

The others still verify and are still published, so that tokens outlive a rotation. A key's id is its thumbprint as in
RFC 7638.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kbs.errors import SetupError
from verifier.formats.strict import base64url

MAX_KEYS = 8

_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One P-256 key. ``jwk``: its public half (``kty``, ``crv``, ``x``, ``y``); ``header``: of each token it signs."""

    kid: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)
    public: ec.EllipticCurvePublicKey = field(repr=False)
    jwk: dict[str, str]
    header: dict[str, Any]

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> TokenKey:
        """The key with its id and headers. Raises `SetupError` unless it is on P-256."""
        if not isinstance(private.curve, ec.SECP256R1):
            raise SetupError("token.key.curve", "tokens are signed with P-256 keys", expected="P-256",
                             got=private.curve.name)
        numbers = private.public_key().public_numbers()
        jwk = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
        kid = base64url(hashlib.sha256(msgspec.json.encode(jwk, order="sorted")).digest())
        return cls(kid, private, private.public_key(), jwk, {"alg": "ES256", "jwk": jwk, "kid": kid, "typ": "JWT"})


def generate() -> bytes:
    """A new key as a PEM block."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def rotated(pem: bytes, keep: int = 2) -> bytes:
    """``pem`` with a new key in front and at most ``keep`` keys in all."""
    return b"".join([generate(), *_PEM.findall(pem)][:keep])


def read(pem: bytes) -> tuple[TokenKey, ...]:
    """Every key in ``pem``, the signing one first. Raises `SetupError`."""
    blocks = _PEM.findall(pem)
    if not 1 <= len(blocks) <= MAX_KEYS or b"".join(blocks) != pem:
        raise SetupError("token.key.file", "not a file of token keys", expected=f"1..{MAX_KEYS} PEM private keys",
                         got=len(blocks))
    return tuple(map(_key, blocks))


def jwks(keys: Iterable[TokenKey]) -> dict[str, Any]:
    """The public halves as a JWK set (RFC 7517 section 5)."""
    return {"keys": [key.jwk | {"alg": "ES256", "kid": key.kid, "use": "sig"} for key in keys]}


def _key(block: bytes) -> TokenKey:
    try:
        private = load_pem_private_key(block, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SetupError("token.key.file", "a token key cannot be read") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise SetupError("token.key.curve", "tokens are signed with P-256 keys", expected="P-256",
                         got=type(private).__name__)
    return TokenKey.of(private)


def _coordinate(value: int) -> str:
    return base64url(value.to_bytes(32, "big"))
