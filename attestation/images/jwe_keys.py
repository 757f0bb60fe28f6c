"""Keys of JWE recipients: PEM as ``openssl`` writes it, or a JWK (RFC 7517), RSA or EC.

RSA has 2048 to 8192 bits; EC is P-256, P-384 or P-521, with its point on the curve. Private keys under a passphrase are
not read: a passphrase has no good way into a pod.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicKey,
    RSAPublicNumbers,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from attestation.errors import MalformedImage, SetupError
from attestation.images.documents import malformed_as, only_members, read_object, shown, text_member
from attestation.images.key_sources import read_file
from kbs.errors import KbsError
from kbs.protocol.tee_pubkey import CURVES, MAX_RSA_BITS, MIN_RSA_BITS, parse_ec_point
from verifier.formats import strict

MAX_KEY_FILE_BYTES = 64 * 1024
MAX_RSA_EXPONENT = 2**32 - 1


class KeyAlgorithm(StrEnum):
    """The JWE key management algorithms handled here (RFC 7518 section 4.1). No other ever is."""

    RSA_OAEP = "RSA-OAEP"
    RSA_OAEP_256 = "RSA-OAEP-256"
    ECDH_ES_A128KW = "ECDH-ES+A128KW"
    ECDH_ES_A192KW = "ECDH-ES+A192KW"
    ECDH_ES_A256KW = "ECDH-ES+A256KW"


RSA_ALGORITHMS = (KeyAlgorithm.RSA_OAEP, KeyAlgorithm.RSA_OAEP_256)
# Width in bytes of the key that wraps the content key (RFC 7518 section 4.6).
ECDH_ALGORITHMS = {KeyAlgorithm.ECDH_ES_A128KW: 16, KeyAlgorithm.ECDH_ES_A192KW: 24, KeyAlgorithm.ECDH_ES_A256KW: 32}


PublicKey = RSAPublicKey | EllipticCurvePublicKey
PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey

_JWK_HINTS = ("alg", "use", "kid", "key_ops")
_RSA_PUBLIC = ("kty", "n", "e")
_RSA_PRIVATE = (*_RSA_PUBLIC, "d", "p", "q", "dp", "dq", "qi")
_EC_PUBLIC = ("kty", "crv", "x", "y")
_EC_PRIVATE = (*_EC_PUBLIC, "d")


@dataclass(frozen=True, slots=True)
class JweRecipient:
    """Somebody who may open the layers: a public key and the algorithm to wrap with."""

    key: PublicKey
    algorithm: KeyAlgorithm

    @classmethod
    def from_bytes(cls, data: bytes, algorithm: KeyAlgorithm | None = None) -> JweRecipient:
        """A public key in PEM, or as JWK whose ``alg`` counts when ``algorithm`` is None.

        Without either, RSA means RSA-OAEP and EC means ECDH-ES+A256KW, the two that every ocicrypt can open. RSA-OAEP
        uses SHA-1, where OAEP needs no resistance to collisions; RSA-OAEP-256 is there for who may not use SHA-1.
        Raises `SetupError`.
        """
        with _key_faults():
            jwk = _jwk(data)
            key = _public_from_pem(data) if jwk is None else _public_from_jwk(jwk)
            named = None if jwk is None else _named_algorithm(jwk)
        is_rsa = isinstance(_sound(key), RSAPublicKey)
        chosen = algorithm or named or (KeyAlgorithm.RSA_OAEP if is_rsa else KeyAlgorithm.ECDH_ES_A256KW)
        if (chosen in RSA_ALGORITHMS) != is_rsa:
            raise SetupError("image.key.algorithm", "this algorithm is not for this kind of key", got=chosen.value)
        return cls(key, chosen)

    @classmethod
    def from_file(cls, path: Path) -> JweRecipient:
        """As `from_bytes`, from a file of at most 64 KiB."""
        return cls.from_bytes(read_file(path, MAX_KEY_FILE_BYTES))


@dataclass(frozen=True, slots=True)
class JwePrivateKey:
    """A private key that may open layers."""

    key: PrivateKey = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> JwePrivateKey:
        """A private key in PEM without passphrase, or as JWK. Raises `SetupError`."""
        with _key_faults():
            jwk = _jwk(data)
            key = _private_from_pem(data) if jwk is None else _private_from_jwk(jwk)
        _sound(key.public_key())
        return cls(key)

    @classmethod
    def from_file(cls, path: Path) -> JwePrivateKey:
        """As `from_bytes`, from a file of at most 64 KiB."""
        return cls.from_bytes(read_file(path, MAX_KEY_FILE_BYTES))


@contextmanager
def _key_faults() -> Iterator[None]:
    """A key that cannot be read is the caller's fault. The text of the libraries is left out: it may quote the file."""
    try:
        yield
    except (MalformedImage, KbsError) as error:
        raise SetupError("image.key.jwk", error.detail) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SetupError("image.key.unreadable", "not an RSA or EC key in PEM (without passphrase) or JWK form",
                         ) from None


def _jwk(data: bytes) -> dict[str, Any] | None:
    """The JWK in ``data``; None when it is not JSON at all, which leaves PEM."""
    if not data.lstrip().startswith(b"{"):
        return None
    jwk = read_object(data, "the key", "image.key.jwk", limit=MAX_KEY_FILE_BYTES)
    if jwk.get("use", "enc") != "enc":
        raise MalformedImage("image.key.jwk", "the key is not meant for encryption", expected="enc")
    return jwk


def _named_algorithm(jwk: Mapping[str, Any]) -> KeyAlgorithm | None:
    return None if "alg" not in jwk else KeyAlgorithm(jwk["alg"])


def _public_from_pem(data: bytes) -> PublicKey:
    key = load_pem_public_key(data)
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey):
        raise TypeError("of another kind")
    return key


def _private_from_pem(data: bytes) -> PrivateKey:
    key = load_pem_private_key(data, password=None)
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise TypeError("of another kind")
    return key


def _public_from_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    if jwk.get("kty") == "RSA":
        _members(jwk, _RSA_PUBLIC)
        return RSAPublicNumbers(_uint(jwk, "e"), _uint(jwk, "n")).public_key()
    _members(jwk, _EC_PUBLIC)
    return ec_public(jwk)


def _private_from_jwk(jwk: Mapping[str, Any]) -> PrivateKey:
    if jwk.get("kty") == "RSA":
        _members(jwk, _RSA_PRIVATE)
        public = RSAPublicNumbers(_uint(jwk, "e"), _uint(jwk, "n"))
        parts = {name: _uint(jwk, name) for name in ("p", "q", "d", "dp", "dq", "qi")}
        return RSAPrivateNumbers(parts["p"], parts["q"], parts["d"], parts["dp"], parts["dq"], parts["qi"],
                                 public).private_key()
    _members(jwk, _EC_PRIVATE)
    public_key = ec_public(jwk)
    key = derive_private_key(_uint(jwk, "d"), public_key.curve)
    if key.public_key() != public_key:
        raise MalformedImage("image.key.jwk", "the private and the public half do not belong together")
    return key


def ec_public(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    """The EC public key in a JWK's ``kty``, ``crv``, ``x`` and ``y``; the point must lie on the curve.

    Raises `MalformedImage`.
    """
    id = "image.jwk"
    curve = CURVES.get(text_member(jwk, "crv", "the key", id))
    if jwk.get("kty") != "EC" or curve is None:
        raise MalformedImage(id, "not a key of a kind used here", expected=f"RSA, or EC on {', '.join(CURVES)}",
                             got=shown(str(jwk.get("crv"))))
    try:
        return parse_ec_point(jwk, curve)
    except KbsError as error:
        raise MalformedImage(id, error.detail) from None


def _members(jwk: Mapping[str, Any], required: Collection[str]) -> None:
    only_members(jwk, "the key", "image.key.jwk", required=required, optional=_JWK_HINTS)


def _uint(jwk: Mapping[str, Any], name: str) -> int:
    with malformed_as("image.key.jwk"):
        return int.from_bytes(strict.base64_bytes(text_member(jwk, name, "the key", "image.key.jwk"), name, url=True))


def _sound(key: PublicKey) -> PublicKey:
    """``key`` if it is of a size and curve used here. Raises `SetupError`."""
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in {curve.name for curve in CURVES.values()}:
            raise SetupError("image.key.curve", "this curve is not used here", expected=", ".join(CURVES),
                             got=key.curve.name)
    elif not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or key.public_numbers().e > MAX_RSA_EXPONENT:
        raise SetupError("image.key.size", "an RSA key of this size is not used here",
                         expected=f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits", got=f"{key.key_size} bits")
    return key
