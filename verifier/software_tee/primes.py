"""RSA keys from a seed.

X.509 libraries draw RSA keys at random only. A maker whose recordings are to be remade byte for byte needs the same
key again, so the search is done here: candidates come from SHAKE-256 over the seed, small factors are sieved out, and
the first candidate that passes Miller-Rabin is taken (FIPS 186-5 appendix A.1.3 with a deterministic source).
"""

from __future__ import annotations

import hashlib
from functools import cache
from math import gcd, isqrt

from cryptography.hazmat.primitives.asymmetric import rsa

_EXPONENT = 65537
_SIEVE_LIMIT = 1 << 18
_SPAN = 1 << 14  # odd numbers looked at from one starting point; a 2048-bit prime is about one in 710 of them
_ROUNDS = 4  # FIPS 186-5 table B.1: 4 rounds for 2048-bit candidates that are drawn, not chosen by an adversary


def derive_rsa_key(seed: bytes, bits: int) -> rsa.RSAPrivateKey:
    """The RSA key of ``bits`` (a multiple of 16) that belongs to ``seed``, public exponent 65537."""
    p = _prime(seed + b"p", bits // 2)
    q = _prime(seed + b"q", bits // 2)
    p, q = max(p, q), min(p, q)
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1) // gcd(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(_EXPONENT, p * q))
    return numbers.private_key()


def _prime(seed: bytes, bits: int) -> int:
    """The first prime at or after a drawn odd number with its two highest bits set."""
    attempt = 0
    while True:
        drawn = int.from_bytes(hashlib.shake_256(seed + attempt.to_bytes(4, "big")).digest(bits // 8), "big")
        start = drawn | 3 << bits - 2 | 1
        for candidate in _sieved(start):
            if candidate % _EXPONENT != 1 and _is_probable_prime(candidate, seed):
                return candidate
        attempt += 1


def _sieved(start: int) -> list[int]:
    """The odd numbers from ``start`` on, `_SPAN` of them, that no small prime divides."""
    alive = bytearray(b"\x01") * _SPAN
    for prime in _small_primes():
        # The first index i with start + 2i divisible by the prime: i = -start / 2 modulo it.
        first = -start % prime * ((prime + 1) // 2) % prime
        alive[first::prime] = bytes(len(range(first, _SPAN, prime)))
    return [start + 2 * index for index in range(_SPAN) if alive[index]]


@cache
def _small_primes() -> tuple[int, ...]:
    alive = bytearray(b"\x01") * _SIEVE_LIMIT
    for number in range(3, isqrt(_SIEVE_LIMIT) + 1, 2):
        if alive[number]:
            alive[number * number::2 * number] = bytes(len(range(number * number, _SIEVE_LIMIT, 2 * number)))
    return tuple(number for number in range(3, _SIEVE_LIMIT, 2) if alive[number])


def _is_probable_prime(candidate: int, seed: bytes) -> bool:
    """Miller-Rabin with `_ROUNDS` bases drawn from ``seed``."""
    twos = (candidate - 1 & 1 - candidate).bit_length() - 1
    odd = candidate - 1 >> twos
    for number in range(_ROUNDS):
        drawn = hashlib.shake_256(b"base" + seed + bytes((number,))).digest(candidate.bit_length() // 8)
        base = int.from_bytes(drawn, "big") % (candidate - 3) + 2
        if not _passes(candidate, base, odd, twos):
            return False
    return True


def _passes(candidate: int, base: int, odd: int, twos: int) -> bool:
    value = pow(base, odd, candidate)
    if value in (1, candidate - 1):
        return True
    for _ in range(twos - 1):
        value = value * value % candidate
        if value == candidate - 1:
            return True
    return False
