"""What runs on a machine with a small TPM: the values of its registers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from verifier.formats.tpm import PCR_COUNT, HashAlg


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmGuest:
    """The state of the TPM. Banks: the values of PCR 0 to 23 one after another; counters: as in TPMS_CLOCK_INFO."""

    sha1: bytes
    sha256: bytes
    sha384: bytes
    clock: int = 1_000_000
    reset_count: int = 1
    restart_count: int = 0
    firmware_version: int = 0x2023_0101_0001_0000

    @classmethod
    def booted(cls, system: bytes = b"software system") -> TpmGuest:
        """PCR 0 to 7 and 14 extended by a boot of ``system``; 17 to 22 all ones, as without a DRTM."""
        sha1, sha256, sha384 = (b"".join(_register(bank, index, system) for index in range(PCR_COUNT))
                                for bank in ("sha1", "sha256", "sha384"))
        return cls(sha1=sha1, sha256=sha256, sha384=sha384)

    def values(self, bank: str) -> dict[int, bytes]:
        """One bank by PCR number."""
        whole: bytes = getattr(self, bank)
        size = HashAlg.of_bank(bank).size
        return {index: whole[size * index : size * (index + 1)] for index in range(PCR_COUNT)}

    def holding(self, bank: str, index: int, value: bytes) -> TpmGuest:
        """The same with another value in one register."""
        values = self.values(bank) | {index: value}
        changed: dict[str, Any] = {bank: b"".join(values[number] for number in range(PCR_COUNT))}
        return replace(self, **changed)


def _register(bank: str, index: int, system: bytes) -> bytes:
    size = HashAlg.of_bank(bank).size
    if index < 8 or index == 14:
        return hashlib.new(bank, bytes(size) + hashlib.new(bank, b"%s %d" % (system, index)).digest()).digest()
    return b"\xff" * size if 17 <= index <= 22 else bytes(size)


def init_data_pcr(digest: bytes) -> bytes:
    """PCR 8 after Confidential Containers extended it with the digest of the init data."""
    return hashlib.sha256(bytes(32) + digest).digest()
