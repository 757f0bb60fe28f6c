"""Hash algorithms of register banks, by their TCG numbers.

Source: TCG Algorithm Registry, TPM_ALG_ID. SM3 is GB/T 32905.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from cryptography.hazmat.primitives import hashes


class Algorithm(IntEnum):
    """TPM_ALG_ID of the banks that can be replayed."""

    SHA1 = 0x0004
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    SM3 = 0x0012

    @property
    def size(self) -> int:
        """Bytes of a digest and of a register."""
        return SIZES[self]

    @property
    def bank(self) -> str:
        """The bank's usual name: ``sha256``, ``sm3``."""
        return self.name.lower()

    def digest(self, data: bytes) -> bytes:
        """The hash of ``data``."""
        if self is Algorithm.SM3:
            context = hashes.Hash(hashes.SM3())
            context.update(data)
            return context.finalize()
        return _HASHES[self](data, usedforsecurity=self is not Algorithm.SHA1).digest()

    def extend(self, register: bytes, digest: bytes) -> bytes:
        """What ``register`` holds after ``digest`` was extended into it."""
        return self.digest(register + digest)


SIZES: dict[int, int] = {Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA384: 48, Algorithm.SHA512: 64,
                         Algorithm.SM3: 32}
_HASHES = {Algorithm.SHA1: hashlib.sha1, Algorithm.SHA256: hashlib.sha256, Algorithm.SHA384: hashlib.sha384,
           Algorithm.SHA512: hashlib.sha512}
BANKS = {algorithm.bank: algorithm for algorithm in Algorithm}
