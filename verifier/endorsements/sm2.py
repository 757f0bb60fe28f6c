"""SM2 signature verification over sm2p256v1 with SM3, which the cryptographic library does not offer.

Rules of the room: this verifies and never signs, so no number here is a secret and none needs constant time. A key is a
point of the curve or it is not made; r and s lie in 1..n-1; `verify` returns nothing and raises on anything but a
signature that holds.

The point sum s*G + t*P is taken in Jacobian coordinates, both scalars in one pass over their signed digits, which costs
about two milliseconds. The curve has prime order, so every point but infinity generates all of it.

Source: GB/T 32918.2-2016 (SM2 digital signatures, section 7; Z_A in section 5.5), GB/T 32918.5-2017 (the curve),
GB/T 32905-2016 (SM3); the same in ISO/IEC 14888-3:2018 and RFC 8998.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac

P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0

MAX_USER_ID_BYTES = 0xFFFF // 8  # its length in bits goes into two bytes

# SubjectPublicKeyInfo up to the coordinates: id-ecPublicKey, sm2p256v1 (1.2.156.10197.1.301), an uncompressed point.
SPKI_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")

_Jacobian = tuple[int, int, int]  # x = X / Z^2, y = Y / Z^3; Z is 0 at infinity
_INFINITY: _Jacobian = (1, 1, 0)
_WINDOW = 5


def sm3(data: bytes) -> bytes:
    """SM3 of ``data``, 32 bytes."""
    state = hashes.Hash(hashes.SM3())
    state.update(data)
    return state.finalize()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104) with SM3, 32 bytes."""
    state = hmac.HMAC(key, hashes.SM3())
    state.update(data)
    return state.finalize()


@dataclass(frozen=True, slots=True)
class Sm2PublicKey:
    """A point of the curve other than infinity. Raises ValueError for coordinates that are not one."""

    x: int
    y: int

    def __post_init__(self) -> None:
        x, y = self.x, self.y
        if not (0 <= x < P and 0 <= y < P and (y * y - (x * x + A) * x - B) % P == 0):
            raise ValueError("not a point of sm2p256v1")

    @classmethod
    def from_spki(cls, data: bytes) -> Sm2PublicKey:
        """From a SubjectPublicKeyInfo (DER) of exactly 91 bytes. Raises ValueError."""
        if len(data) != len(SPKI_PREFIX) + 64 or not data.startswith(SPKI_PREFIX):
            raise ValueError("not an SM2 SubjectPublicKeyInfo")
        return cls(int.from_bytes(data[-64:-32], "big"), int.from_bytes(data[-32:], "big"))

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER, 91 bytes."""
        return SPKI_PREFIX + self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")

    def verify(self, r: int, s: int, message: bytes, user_id: bytes) -> None:
        """``(r, s)`` over ``message`` by this key's owner, who goes by ``user_id`` (at most 8191 bytes).

        Raises `cryptography.exceptions.InvalidSignature`.
        """
        t = (r + s) % N
        if not (0 < r < N and 0 < s < N) or t == 0:
            raise InvalidSignature
        x, _, z = _sum_of_products(s, (GX, GY, 1), t, (self.x, self.y, 1))
        if z == 0:
            raise InvalidSignature
        e = int.from_bytes(sm3(self.identity_digest(user_id) + message), "big")
        affine = x * pow(z, -2, P) % P
        if (e + affine) % N != r:
            raise InvalidSignature

    def identity_digest(self, user_id: bytes) -> bytes:
        """Z_A: SM3 over the owner's name, the curve and the key. Raises ValueError for a name that is too long."""
        if len(user_id) > MAX_USER_ID_BYTES:
            raise ValueError("the user id is too long")
        numbers = b"".join(number.to_bytes(32, "big") for number in (A, B, GX, GY, self.x, self.y))
        return sm3((8 * len(user_id)).to_bytes(2, "big") + user_id + numbers)


def _sum_of_products(u: int, first: _Jacobian, v: int, second: _Jacobian) -> _Jacobian:
    """u * first + v * second, the two in one pass (Straus) over digits of `_WINDOW` bits with signs (wNAF)."""
    digits = (_signed_digits(u), _signed_digits(v))
    tables = (_odd_multiples(first), _odd_multiples(second))
    total = _INFINITY
    for position in range(max(map(len, digits)) - 1, -1, -1):
        total = _double(total)
        for number, table in zip(digits, tables, strict=True):
            digit = number[position] if position < len(number) else 0
            if digit:
                x, y, z = table[abs(digit) // 2]
                total = _add(total, (x, y if digit > 0 else P - y, z))
    return total


def _signed_digits(number: int) -> list[int]:
    """Digits of 2, lowest first: each is 0 or odd and less than 2 ** (_WINDOW - 1) either way."""
    digits = []
    while number:
        digit = 0
        if number & 1:
            digit = number & (1 << _WINDOW) - 1
            if digit >= 1 << _WINDOW - 1:
                digit -= 1 << _WINDOW
            number -= digit
        digits.append(digit)
        number >>= 1
    return digits


def _odd_multiples(point: _Jacobian) -> list[_Jacobian]:
    """1, 3, 5 … times ``point``."""
    twice, table = _double(point), [point]
    for _ in range((1 << _WINDOW - 2) - 1):
        table.append(_add(table[-1], twice))
    return table


def _double(point: _Jacobian) -> _Jacobian:
    """Twice a point, for a = -3. Infinity, whose Z is 0, stays at infinity; the curve has no point of order two."""
    x, y, z = point
    zz = z * z % P
    yy = y * y % P
    beta = x * yy % P
    alpha = 3 * (x - zz) * (x + zz) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(left: _Jacobian, right: _Jacobian) -> _Jacobian:
    """The sum of any two points, equal and opposite ones included."""
    x1, y1, z1 = left
    x2, y2, z2 = right
    if z1 == 0:
        return right
    if z2 == 0:
        return left
    zz1, zz2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * zz2 % P, x2 * zz1 % P
    s1, s2 = y1 * zz2 * z2 % P, y2 * zz1 * z1 % P
    h, r = (u2 - u1) % P, (s2 - s1) % P
    if h == 0:
        return _double(left) if r == 0 else _INFINITY
    hh = h * h % P
    hhh, base = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * base) % P
    return x3, (r * (base - x3) - s1 * hhh) % P, h * z1 * z2 % P
