"""The guest's public key as the JWK that the evidence binds.

Accepted: EC on P-256, P-384 or P-521 with ``ECDH-ES+A256KW``, and RSA of 2048 to 8192 bits with ``RSA-OAEP-256``.
``RSA1_5`` exists only behind a flag, for guests of the oldest kind. Each kind has exactly the members listed here: one
more would be hashed by one end and dropped by the other. Coordinates and modulus are canonical: fixed length for EC,
no leading zero for RSA, base64url without padding, so that one key has one JWK (RFC 7518 section 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kbs.errors import MalformedRequest
from kbs.protocol.wire import base64_bytes
from verifier.formats.strict import base64url

ECDH_ES_A256KW = "ECDH-ES+A256KW"
RSA_OAEP_256 = "RSA-OAEP-256"
RSA1_5 = "RSA1_5"

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
# NIST SP 800-56B section 6.2 bounds the exponent below; the upper bound keeps encryption cheap.
MIN_RSA_EXPONENT, MAX_RSA_EXPONENT = 65537, 2**32 - 1

CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_BY_NAME = {curve.name: curve for curve in CURVES.values()}


@dataclass(frozen=True, slots=True)
class TeePublicKey:
    """A checked key: ``alg`` is the key-management algorithm its owner asked for."""

    alg: str
    key: PublicKey


def parse(jwk: Mapping[str, str], *, allow_rsa1_5: bool = False) -> TeePublicKey:
    """The key in ``jwk``. Raises `MalformedRequest`, id ``protocol.tee_pubkey.<member>``."""
    kind = jwk.get("kty")
    if kind == "EC":
        return _parse_ec(jwk)
    if kind == "RSA":
        return _parse_rsa(jwk, allow_rsa1_5)
    raise _malformed("kty", "a key of this kind is not accepted", expected="EC or RSA", got=str(kind)[:32])


def jwk_of(key: PublicKey) -> dict[str, str]:
    """The JWK of our own key, with the algorithm it is to be used with."""
    numbers = key.public_numbers()
    if isinstance(numbers, ec.EllipticCurvePublicNumbers):
        crv = next(name for name, curve in CURVES.items() if curve.name == numbers.curve.name)
        return {"kty": "EC", "crv": crv, "alg": ECDH_ES_A256KW, **ec_point(numbers)}
    return {"kty": "RSA", "alg": RSA_OAEP_256, "n": _uint(numbers.n), "e": _uint(numbers.e)}


def ec_point(numbers: ec.EllipticCurvePublicNumbers) -> dict[str, str]:
    """The members ``x`` and ``y``, each as long as the curve's field (32, 48 or 66 bytes), big-endian."""
    size = (numbers.curve.key_size + 7) // 8
    return {"x": base64url(numbers.x.to_bytes(size, "big")), "y": base64url(numbers.y.to_bytes(size, "big"))}


def parse_ec_point(jwk: Mapping[str, str], curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    """The point (``x``, ``y``), which must lie on ``curve``; infinity cannot be written. Raises `MalformedRequest`."""
    size = (curve.key_size + 7) // 8
    x, y = (_octets(jwk, member, size) for member in ("x", "y"))
    try:
        return _point(x, y, curve.name)
    except (ValueError, UnsupportedAlgorithm):
        raise _malformed("x", "the point is not on the curve", expected=curve.name) from None


@lru_cache(maxsize=1024)
def _point(x: bytes, y: bytes, curve: str) -> ec.EllipticCurvePublicKey:
    """A handshake comes upon its key three times, and finding out that a point is on the curve takes a while."""
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"),
                                         _BY_NAME[curve]).public_key()


def _parse_ec(jwk: Mapping[str, str]) -> TeePublicKey:
    _require_members(jwk, {"kty", "crv", "alg", "x", "y"})
    _require_alg(jwk, {ECDH_ES_A256KW})
    curve = CURVES.get(jwk["crv"])
    if curve is None:
        raise _malformed("crv", "this curve is not accepted", expected=", ".join(CURVES), got=jwk["crv"][:32])
    return TeePublicKey(jwk["alg"], parse_ec_point(jwk, curve))


def _parse_rsa(jwk: Mapping[str, str], allow_rsa1_5: bool) -> TeePublicKey:
    _require_members(jwk, {"kty", "alg", "n", "e"})
    _require_alg(jwk, {RSA_OAEP_256, RSA1_5} if allow_rsa1_5 else {RSA_OAEP_256})
    n, e = _positive(jwk, "n"), _positive(jwk, "e")
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or n % 2 == 0:
        raise _malformed("n", "the modulus is not acceptable", expected=f"odd, {MIN_RSA_BITS} to {MAX_RSA_BITS} bits",
                         got=f"{n.bit_length()} bits")
    if not MIN_RSA_EXPONENT <= e <= MAX_RSA_EXPONENT or e % 2 == 0:
        raise _malformed("e", "the exponent is not acceptable",
                         expected=f"odd, {MIN_RSA_EXPONENT} to {MAX_RSA_EXPONENT}", got=f"{e.bit_length()} bits")
    return TeePublicKey(jwk["alg"], rsa.RSAPublicNumbers(e, n).public_key())


def _require_members(jwk: Mapping[str, str], members: set[str]) -> None:
    if set(jwk) != members:
        raise _malformed("members", "the key has missing or unknown members", expected=", ".join(sorted(members)),
                         got=", ".join(sorted(key[:32] for key in jwk)))


def _require_alg(jwk: Mapping[str, str], accepted: set[str]) -> None:
    if jwk["alg"] not in accepted:
        raise _malformed("alg", "this algorithm is not accepted for this key", expected=" or ".join(sorted(accepted)),
                         got=jwk["alg"][:32])


def _octets(jwk: Mapping[str, str], member: str, size: int | None = None) -> bytes:
    return base64_bytes(jwk.get(member, ""), f"protocol.tee_pubkey.{member}", member, MalformedRequest, url=True,
                        size=size)


def _positive(jwk: Mapping[str, str], member: str) -> int:
    octets = _octets(jwk, member)
    if not octets or octets[0] == 0:
        raise _malformed(member, f"{member} is empty or starts with a zero octet")
    return int.from_bytes(octets, "big")


def _uint(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _malformed(member: str, detail: str, *, expected: str | None = None, got: str | None = None) -> MalformedRequest:
    return MalformedRequest(f"protocol.tee_pubkey.{member}", detail, expected=expected, got=got)
