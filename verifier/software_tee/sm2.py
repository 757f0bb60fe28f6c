"""SM2 keys for a small Hygon, and their signatures.

The arithmetic is the textbook's, in affine coordinates, and its own: a mistake in the verifier's does not hide behind
the same one here. As everywhere in this room it is not hardened against anybody who can time it. The nonce is derived
from key and digest, so that a key determines its signatures. Source: GB/T 32918.2-2016 section 6, GB/T 32918.5-2017.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from cryptography.hazmat.primitives import hashes

from verifier.software_tee.keys import KeyRing

P = 2**256 - 2**224 - 2**96 + 2**64 - 1
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GENERATOR = (0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
             0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0)

Point = tuple[int, int] | None  # None is infinity
FIELD_SIZE = 72  # Hygon's fields for numbers of 32 bytes


@dataclass(frozen=True, eq=False)
class Sm2Key:
    """A key on sm2p256v1. ``user_id`` is the name that its owner signs under."""

    scalar: int = field(repr=False)
    user_id: bytes

    @classmethod
    def of(cls, ring: KeyRing, label: str, user_id: bytes) -> Sm2Key:
        """The key of that label, made of the ring's P-256 key: rings keep keys of the library's kinds only."""
        drawn = ring.p256(label).private.private_numbers().private_value
        return cls(drawn % (ORDER - 2) + 1, user_id)

    @cached_property
    def public(self) -> tuple[int, int]:
        """The coordinates of the public key."""
        return _public(self.scalar)

    def sign(self, message: bytes) -> tuple[int, int]:
        """r and s."""
        x, y = self.public
        numbers = b"".join(number.to_bytes(32, "big") for number in (A, B, *GENERATOR, x, y))
        name = (8 * len(self.user_id)).to_bytes(2, "big") + self.user_id
        return _signature(self.scalar, int.from_bytes(sm3(sm3(name + numbers) + message), "big"))


def sm3(data: bytes) -> bytes:
    """SM3, 32 bytes."""
    state = hashes.Hash(hashes.SM3())
    state.update(data)
    return state.finalize()


def in_field(number: int) -> bytes:
    """``number`` as Hygon writes it: little-endian, 32 bytes, padded with zeros to 72."""
    return number.to_bytes(32, "little").ljust(FIELD_SIZE, b"\x00")


@lru_cache(maxsize=1024)
def _public(scalar: int) -> tuple[int, int]:
    point = _multiply(scalar, GENERATOR)
    if point is None:
        raise ValueError("the scalar is a multiple of the order")
    return point


@lru_cache(maxsize=1024)
def _signature(scalar: int, digest: int) -> tuple[int, int]:
    """Kept, because altering one artefact of a maker signs all the others again as they were."""
    counter = 0
    while True:
        seed = digest.to_bytes(32, "big") + counter.to_bytes(4, "big")
        drawn = hmac.digest(scalar.to_bytes(32, "big"), seed, hashlib.sha512)
        nonce, counter = int.from_bytes(drawn, "big") % (ORDER - 1) + 1, counter + 1
        point = _multiply(nonce, GENERATOR)
        r = (digest + point[0]) % ORDER if point else 0
        s = (nonce - r * scalar) * pow(1 + scalar, -1, ORDER) % ORDER
        if r and s and r + nonce != ORDER:
            return r, s


def _multiply(scalar: int, point: Point) -> Point:
    total: Point = None
    for bit in bin(scalar)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def add(left: Point, right: Point) -> Point:
    """The sum of two points."""
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    rise, run = ((3 * x1 * x1 + A), 2 * y1) if left == right else (y2 - y1, x2 - x1)
    slope = rise * pow(run, -1, P) % P
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P
