"""What TPM 2.0 structures share: algorithm numbers, sized buffers, PCR selections.

Everything is big-endian and consumed exactly. ``tpm_attest`` holds TPMS_ATTEST, ``tpm_public`` TPMT_PUBLIC,
``tpm_signature`` TPMT_SIGNATURE. Source: TCG "Trusted Platform Module Library", part 2 (Structures), family 2.0;
section numbers of revision 1.59.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader

PCR_COUNT = 24
MAX_SELECTIONS = 16
MAX_SELECT_BYTES = 4

# Debug (16) and application (23) registers can be reset by any program, 17 to 22 by whoever starts a DRTM (PC Client
# Platform TPM Profile, section 4.6.2): their values do not tell what has run since the machine started.
RESETTABLE = frozenset((16, 17, 18, 19, 20, 21, 22, 23))


class HashAlg(IntEnum):
    """TPM_ALG_ID of the hashes that PCR banks and signatures use (section 6.3)."""

    SHA1 = 0x0004
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    SM3 = 0x0012

    @property
    def bank(self) -> str:
        """As PCR banks are called: ``sha1``, ``sha256``, ``sha384``, ``sha512``, ``sm3``."""
        return _BANKS[self]

    @property
    def size(self) -> int:
        """Digest length in bytes."""
        return _SIZES[self]

    @classmethod
    def of_bank(cls, name: str) -> HashAlg:
        """By the bank's name. Raises `UnsupportedEvidence`."""
        for alg in cls:
            if alg.bank == name:
                return alg
        raise UnsupportedEvidence("tpm.bank", "unknown PCR bank", expected=[alg.bank for alg in cls], got=name[:16])


_BANKS = {alg: alg.name.lower() for alg in HashAlg}
_SIZES = {HashAlg.SHA1: 20, HashAlg.SHA256: 32, HashAlg.SHA384: 48, HashAlg.SHA512: 64, HashAlg.SM3: 32}


def hash_alg(number: int, what: str) -> HashAlg:
    """The hash of that TPM_ALG_ID. Raises `UnsupportedEvidence` for any other."""
    try:
        return HashAlg(number)
    except ValueError:
        raise UnsupportedEvidence("tpm.hash", f"{what} names an unknown hash", expected=[hex(alg) for alg in HashAlg],
                                  got=hex(number)) from None


def sized(reader: Reader, field: str) -> bytes:
    """A TPM2B: two bytes of length, then the bytes."""
    return reader.take(reader.uint(2, f"{field} size"), field)


def to_sized(data: bytes) -> bytes:
    """A TPM2B. Raises `OverflowError` beyond 65535 bytes, which no structure holds."""
    return len(data).to_bytes(2, "big") + data


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """TPMS_PCR_SELECTION (section 10.6.2): the selected PCRs of one bank, ascending.

    size: bytes of the bitmap, 1 to 4; 3 on every PC. PCR ``p`` is bit ``p mod 8`` of byte ``p / 8``.
    """

    alg: HashAlg
    pcrs: tuple[int, ...]
    size: int = 3

    @property
    def bank(self) -> str:
        """The bank's name."""
        return self.alg.bank

    def to_bytes(self) -> bytes:
        """As on the wire."""
        bitmap = sum(1 << pcr for pcr in set(self.pcrs)).to_bytes(self.size, "little")
        return self.alg.to_bytes(2, "big") + bytes((self.size,)) + bitmap


def read_selections(reader: Reader) -> tuple[PcrSelection, ...]:
    """TPML_PCR_SELECTION (section 10.9.7): a count of four bytes, then that many selections."""
    count = reader.uint(4, "selection count")
    if count > MAX_SELECTIONS:
        raise reader.malformed("too many PCR selections", expected=f"<= {MAX_SELECTIONS}", got=count)
    return tuple(_selection(reader) for _ in range(count))


def _selection(reader: Reader) -> PcrSelection:
    alg = hash_alg(reader.uint(2, "selection hash"), "a PCR selection")
    size = reader.uint(1, "selection size")
    if not 1 <= size <= MAX_SELECT_BYTES:
        raise reader.malformed("a PCR bitmap has an unknown size", expected=f"1..{MAX_SELECT_BYTES} bytes", got=size)
    bitmap = int.from_bytes(reader.take(size, "selection bitmap"), "little")
    return PcrSelection(alg, tuple(pcr for pcr in range(8 * size) if bitmap >> pcr & 1), size)


def write_selections(selections: Iterable[PcrSelection]) -> bytes:
    """TPML_PCR_SELECTION."""
    items = tuple(selections)
    return len(items).to_bytes(4, "big") + b"".join(item.to_bytes() for item in items)
