"""The SEV-SNP attestation report: versions 2 to 5, 1184 bytes, on Milan, Genoa and Turin.

Source: AMD "SEV Secure Nested Paging Firmware ABI Specification" (56860): ATTESTATION_REPORT, TCB_VERSION, the
guest policy, PLATFORM_INFO, MSG_REPORT_RSP. Integers are little-endian; TCB_VERSION, whose layout depends on the
processor, and firmware versions are kept as byte strings. Reserved bytes stay visible: `verifier.checks.snp` judges
them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from enum import Enum, IntEnum, StrEnum
from itertools import repeat
from operator import attrgetter, call
from struct import Struct
from typing import NamedTuple

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader

VERSIONS = (2, 3, 4, 5)
SIGNATURE_ALGO_ECDSA_P384_SHA384 = 1
VMPL_HOST = 0xFFFFFFFF  # the report was requested by the host, not by the guest

_LAYOUT = Struct("<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8sBBB21s64s8s3ss3ss8sQQ152s72s72s368s")
_RESPONSE = Struct("<II24s")  # MSG_REPORT_RSP: status, report size, reserved
SIZE = _LAYOUT.size
SIGNED_SIZE = 0x2A0


class ProductLine(StrEnum):
    """A generation of EPYC processors, by the name AMD's key distribution service uses."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SigningKey(IntEnum):
    """SIGNING_KEY, bits 4:2 of FLAGS; 2 to 6 are reserved."""

    VCEK = 0
    VLEK = 1
    NONE = 7


class TcbLayout(Enum):
    """Which component each of the eight bytes of TCB_VERSION counts, None where the byte is reserved."""

    LEGACY = ("bootloader", "tee", None, None, None, None, "snp", "microcode")
    TURIN = ("fmc", "bootloader", "tee", "snp", None, None, None, "microcode")

    @classmethod
    def of(cls, line: ProductLine) -> TcbLayout:
        """The layout of a product line."""
        return cls.TURIN if line is ProductLine.TURIN else cls.LEGACY

    @property
    def reserved(self) -> slice:
        """Where the reserved bytes are; they lie together in both layouts."""
        return slice(4, 7) if self is TcbLayout.TURIN else slice(2, 6)


@dataclass(frozen=True, slots=True)
class TcbVersion:
    """TCB_VERSION decoded. ``fmc`` is None before Turin; ``reserved`` is 4 bytes there and 3 on Turin."""

    fmc: int | None
    bootloader: int
    tee: int
    snp: int
    microcode: int
    reserved: bytes = b""

    @classmethod
    def from_bytes(cls, data: bytes, layout: TcbLayout) -> TcbVersion:
        """Exactly 8 bytes. Raises `MalformedEvidence`."""
        reader = Reader(data, "snp_tcb")
        raw = reader.take(8, "TCB_VERSION")
        reader.end()
        if layout is TcbLayout.TURIN:
            return cls(raw[0], raw[1], raw[2], raw[3], raw[7], raw[layout.reserved])
        return cls(None, raw[0], raw[1], raw[6], raw[7], raw[layout.reserved])

    def to_bytes(self) -> bytes:
        """The 8 bytes again; ``fmc`` tells the layout, and an empty ``reserved`` is zeros."""
        if self.fmc is None:
            reserved = self.reserved or bytes(4)
            return bytes((self.bootloader, self.tee)) + reserved + bytes((self.snp, self.microcode))
        reserved = self.reserved or bytes(3)
        return bytes((self.fmc, self.bootloader, self.tee, self.snp)) + reserved + bytes((self.microcode,))


class Cpuid(NamedTuple):
    """Family and model with their extended parts added in, and stepping."""

    family: int
    model: int
    stepping: int


_LINES: tuple[tuple[int, range, ProductLine], ...] = (
    (0x19, range(0x10), ProductLine.MILAN),
    (0x19, range(0x10, 0x20), ProductLine.GENOA),
    (0x19, range(0xA0, 0xB0), ProductLine.GENOA),  # Bergamo and Siena, which AMD certifies as Genoa
    (0x1A, range(0x12), ProductLine.TURIN),
)


def product_line(cpuid: Cpuid) -> ProductLine | None:
    """The line a processor belongs to; None for a processor this verifier does not know."""
    for family, models, line in _LINES:
        if cpuid.family == family and cpuid.model in models:
            return line
    return None


POLICY_BITS: tuple[tuple[int, str], ...] = (
    (16, "smt_allowed"), (17, "reserved_mbo_17"), (18, "migrate_ma"), (19, "debug"), (20, "single_socket"),
    (21, "cxl_allow"), (22, "mem_aes_256_xts"), (23, "rapl_dis"), (24, "ciphertext_hiding_dram"),
    (25, "page_swap_disable"),
)
PLATFORM_BITS: tuple[tuple[int, str], ...] = (
    (0, "smt_en"), (1, "tsme_en"), (2, "ecc_en"), (3, "rapl_dis"), (4, "ciphertext_hiding_dram_en"),
    (5, "alias_check_complete"), (7, "tio_en"),
)
_PLATFORM_UNNAMED = 1 << 6  # genuine Turin firmware sets it; the specification calls it reserved
POLICY_MUST_BE_ONE, POLICY_MIGRATE_MA, POLICY_DEBUG = 1 << 17, 1 << 18, 1 << 19
POLICY_KNOWN = 0xFFFF | sum(1 << bit for bit, _ in POLICY_BITS)  # bits 15:0 are the minimum ABI version
PLATFORM_KNOWN = _PLATFORM_UNNAMED | sum(1 << bit for bit, _ in PLATFORM_BITS)
FLAGS_KNOWN = 0b11111  # AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY


def named_bits(word: int, bits: tuple[tuple[int, str], ...]) -> dict[str, bool]:
    """The bits of ``word`` by name."""
    return {name: bool(word >> bit & 1) for bit, name in bits}


TCBS = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
_tcbs_of = attrgetter(*TCBS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpReport:
    """The report's fields in wire order.

    Fields that a version does not define are reserved bytes there: ``cpuid_*`` before version 3, ``*_mit_vector``
    before version 5. ``signature_r`` and ``signature_s`` are little-endian, 48 significant bytes of 72. ``*_tcb`` is
    TCB_VERSION, 8 bytes; ``*_version`` is build, minor, major. ``report_id_ma`` is all ones without a migration agent.
    ``reserved_<offset>`` is must-be-zero space.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    current_tcb: bytes
    platform_info: int
    flags: int
    reserved_04c: bytes = bytes(4)
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid_family: int = 0
    cpuid_model: int = 0
    cpuid_stepping: int = 0
    reserved_18b: bytes = bytes(21)
    chip_id: bytes
    committed_tcb: bytes
    current_version: bytes
    reserved_1eb: bytes = bytes(1)
    committed_version: bytes
    reserved_1ef: bytes = bytes(1)
    launch_tcb: bytes
    launch_mit_vector: int = 0
    current_mit_vector: int = 0
    reserved_208: bytes = bytes(152)
    signature_r: bytes = bytes(72)
    signature_s: bytes = bytes(72)
    reserved_330: bytes = bytes(368)

    @classmethod
    def from_bytes(cls, data: bytes) -> SnpReport:
        """Exactly 1184 bytes. Raises `MalformedEvidence`; `UnsupportedEvidence` for a version other than 2 to 5."""
        reader = Reader(data, "snp_report")
        values = reader.unpack(_LAYOUT, "attestation report")
        reader.end()
        if values[0] not in VERSIONS:
            raise UnsupportedEvidence("snp_report.version", "unknown report version", expected=list(VERSIONS),
                                      got=values[0])
        report = object.__new__(cls)
        deque(map(call, _PLACES, repeat(report), values), maxlen=0)
        return report

    @classmethod
    def from_firmware_response(cls, data: bytes) -> SnpReport:
        """The report in the firmware's own answer (MSG_REPORT_RSP): 32 bytes of status, size and reserved, then it.

        Raises `MalformedEvidence` unless status is 0, size is 1184 and ``data`` is exactly 1216 bytes. The kernel's
        ``outblob`` has no such prefix.
        """
        reader = Reader(data, "snp_response")
        status, size, reserved = reader.unpack(_RESPONSE, "report response")
        if status != 0:
            raise reader.malformed("the firmware reports a failure", expected=0, got=status)
        if size != SIZE or any(reserved):
            raise reader.malformed("the response header does not belong to a report", expected=SIZE, got=size)
        report = reader.take(SIZE, "attestation report")
        reader.end()
        return cls.from_bytes(report)

    def to_bytes(self) -> bytes:
        """The 1184 bytes again."""
        return _LAYOUT.pack(*_VALUES(self))

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: the first 672 bytes. The layout has no gap, so these are the bytes received."""
        return self.to_bytes()[:SIGNED_SIZE]

    @property
    def tcbs(self) -> tuple[bytes, ...]:
        """The four TCB_VERSIONs, 8 bytes each, in the order of `TCBS`."""
        found: tuple[bytes, ...] = _tcbs_of(self)
        return found

    @property
    def cpuid(self) -> Cpuid | None:
        """The processor the report names; None in version 2, which names none."""
        return Cpuid(self.cpuid_family, self.cpuid_model, self.cpuid_stepping) if self.version >= 3 else None

    @property
    def author_key_en(self) -> bool:
        """AUTHOR_KEY_DIGEST is meaningful."""
        return bool(self.flags & 1)

    @property
    def mask_chip_key(self) -> bool:
        """The chip key may not sign reports. Says nothing of CHIP_ID, which is masked separately."""
        return bool(self.flags & 2)

    @property
    def signing_key(self) -> int:
        """SIGNING_KEY as a number; see `SigningKey`."""
        return self.flags >> 2 & 0b111


_NAMES = tuple(field.name for field in fields(SnpReport))
_VALUES = attrgetter(*_NAMES)
# A report is filled through its slots: a frozen class's own way takes five times as long.
_PLACES = tuple(vars(SnpReport)[name].__set__ for name in _NAMES)
