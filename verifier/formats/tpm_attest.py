"""TPMS_ATTEST: what a TPM signs about itself (quote), one of its keys (certify) or a key's origin (creation).

Big-endian. Source: TCG TPM 2.0 Library part 2, section 10.12. The magic number says that a TPM made the structure: a
restricted key signs nothing that begins with it unless the TPM did. It is kept here as found, and judged by the checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from verifier.formats.reader import Reader
from verifier.formats.tpm import PcrSelection, read_selections, sized, to_sized, write_selections

GENERATED = 0xFF544347  # TPM_GENERATED_VALUE, section 6.2

_CLOCK = Struct(">QIIB")
_HEAD = Struct(">IH")


class AttestType(IntEnum):
    """TPM_ST values that occur (section 6.9)."""

    CERTIFY = 0x8017
    QUOTE = 0x8018
    CREATION = 0x801A


@dataclass(frozen=True, slots=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO (section 10.12.1): which PCRs, and one digest over their values.

    pcr_digest uses the hash of the signing scheme, whatever the banks are.
    """

    selections: tuple[PcrSelection, ...]
    pcr_digest: bytes

    @classmethod
    def read(cls, reader: Reader) -> QuoteInfo:
        """The next fields."""
        return cls(read_selections(reader), sized(reader, "pcrDigest"))

    def to_bytes(self) -> bytes:
        """As on the wire."""
        return write_selections(self.selections) + to_sized(self.pcr_digest)


@dataclass(frozen=True, slots=True)
class CertifyInfo:
    """TPMS_CERTIFY_INFO (section 10.12.2): the names of a key that the TPM holds."""

    name: bytes
    qualified_name: bytes

    @classmethod
    def read(cls, reader: Reader) -> CertifyInfo:
        """The next fields."""
        return cls(sized(reader, "name"), sized(reader, "qualifiedName"))

    def to_bytes(self) -> bytes:
        """As on the wire."""
        return to_sized(self.name) + to_sized(self.qualified_name)


@dataclass(frozen=True, slots=True)
class CreationInfo:
    """TPMS_CREATION_INFO (section 10.12.6): a key's name, and a digest over the circumstances of its creation."""

    object_name: bytes
    creation_hash: bytes

    @classmethod
    def read(cls, reader: Reader) -> CreationInfo:
        """The next fields."""
        return cls(sized(reader, "objectName"), sized(reader, "creationHash"))

    def to_bytes(self) -> bytes:
        """As on the wire."""
        return to_sized(self.object_name) + to_sized(self.creation_hash)


Attested = QuoteInfo | CertifyInfo | CreationInfo
_KINDS: dict[int, type[Attested]] = {AttestType.QUOTE: QuoteInfo, AttestType.CERTIFY: CertifyInfo,
                                     AttestType.CREATION: CreationInfo}


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmAttest:
    """The structure's fields in wire order.

    magic: `GENERATED` in whatever a TPM made. type: see `AttestType`. qualified_signer: TPM2B_NAME of the signing key
    (two bytes of hash algorithm and a digest). extra_data: the caller's nonce, 0 to 64 bytes. clock: milliseconds.
    safe: the clock has not gone back. firmware_version: the maker's own number. attested: what the type says; the raw
    bytes of a type that is not known here.
    """

    magic: int = GENERATED
    type: int = AttestType.QUOTE
    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    attested: Attested | bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> TpmAttest:
        """The whole of ``data``. Raises `MalformedEvidence`, or `UnsupportedEvidence` for a bank of an unknown hash."""
        reader = Reader(data, "tpms_attest", order="big")
        magic, kind = reader.unpack(_HEAD, "magic and type")
        signer, extra = sized(reader, "qualifiedSigner"), sized(reader, "extraData")
        clock, resets, restarts, safe = reader.unpack(_CLOCK, "clockInfo")
        if safe not in (0, 1):
            raise reader.malformed("safe is neither yes nor no", expected=[0, 1], got=safe)
        firmware = reader.uint(8, "firmwareVersion")
        known = _KINDS.get(kind)
        attested: Attested | bytes = reader.rest() if known is None else known.read(reader)
        reader.end()
        return cls(magic=magic, type=kind, qualified_signer=signer, extra_data=extra, clock=clock, reset_count=resets,
                   restart_count=restarts, safe=bool(safe), firmware_version=firmware, attested=attested)

    def to_bytes(self) -> bytes:
        """As on the wire."""
        attested = self.attested if isinstance(self.attested, bytes) else self.attested.to_bytes()
        return (_HEAD.pack(self.magic, self.type) + to_sized(self.qualified_signer) + to_sized(self.extra_data)
                + _CLOCK.pack(self.clock, self.reset_count, self.restart_count, self.safe)
                + self.firmware_version.to_bytes(8, "big") + attested)

    @property
    def pcr_selections(self) -> tuple[PcrSelection, ...]:
        """The banks and PCRs that a quote covers (``.alg``, ``.pcrs``, ``.bank``); none for other types."""
        return self.attested.selections if isinstance(self.attested, QuoteInfo) else ()

    @property
    def pcr_digest(self) -> bytes:
        """A quote's digest over the selected PCRs; empty for other types."""
        return self.attested.pcr_digest if isinstance(self.attested, QuoteInfo) else b""
