"""Hygon's CSV attestation report: version 1, and the extended versions 2 and 3.

    version 1    TEE info, 0x150 bytes; signed: 0x00..0xB3 as stored; most fields are stored XORed with ``anonce``
    version 2    TEE info, 0x490 bytes; signed: 0x000..0x3FF; firmware build and five RTMRs; nothing is XORed
    version 3    version 2 with 64 bytes of host data in the last of its reserved bytes

After the TEE info comes the signer: the PEK's certificate, the chip's serial number, 32 reserved bytes and an HMAC-SM3
of these three under the guest's ``mnonce``. The firmware's answer has the certificate and serial number of version 1
XORed too, and something in the reserved bytes; Hygon's guest library checks the HMAC, undoes the XOR, and clears the
reserved bytes. Both forms are read here and written again byte for byte. Nothing signs the serial number, nor, in
version 1, ``anonce``; see `verifier.tees.csv`.

A report by itself is one of version 1, 2548 bytes. Others say what they are by 16 bytes of magic and 32 bits of flags,
and are padded with zeros to 4096 bytes. All integers are little-endian. Source: Hygon's published structures
(csv_attestation_report, ATTESTATION_EXT).
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from struct import Struct

from verifier.errors import UnsupportedEvidence
from verifier.formats import hygon_cert
from verifier.formats.reader import Reader

MAGIC = b"ATTESTATION_EXT\x00"
BUFFER_SIZE = 4096
WRAPPER_SIZE = 16 + 4 + BUFFER_SIZE

_FLAGS = {1: 0, 2: 1, 3: 3}  # by version

_COMMON = Struct("<32s16s16s64s16s32sIII")
_TAIL_1 = Struct("<I72s72s")
_TAIL_2 = Struct("<IH14s32s32s32s32s32s656s72s72s")
_TAIL_3 = Struct("<IH14s32s32s32s32s32s592s64s72s72s")
_SIGNER = Struct("<2084s64s32s32s")
_WRAPPER = Struct("<16sI4096s")

TEE_INFO_SIZE = _COMMON.size + _TAIL_1.size
SIZE = TEE_INFO_SIZE + _SIGNER.size
SIZES = (SIZE, BUFFER_SIZE, WRAPPER_SIZE)
SIGNED_SIZE = 0xB4
EXTENDED_SIGNED_SIZE = 0x400

POLICY_NODBG, POLICY_ES, POLICY_CSV3 = 1 << 0, 1 << 2, 1 << 6
# Name, lowest bit, number of bits.
POLICY_FIELDS: tuple[tuple[str, int, int], ...] = (
    ("nodbg", 0, 1), ("noks", 1, 1), ("es", 2, 1), ("nosend", 3, 1), ("domain", 4, 1), ("csv", 5, 1), ("csv3", 6, 1),
    ("asid_reuse", 7, 1), ("hsk_version", 8, 4), ("cek_version", 12, 4), ("api_major", 16, 8), ("api_minor", 24, 8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeInfo:
    """What the firmware says of the guest, in clear, fields in wire order.

    policy: GUEST_POLICY, 32 bits. anonce: the 32-bit mask of version 1, 0 in others. From ``build`` on: versions 2 and
    3 only; rtmr0..rtmr4 are SM3 registers. host_data: 64 bytes, version 3 only. signature_r, signature_s: 72 bytes.
    """

    user_pubkey_digest: bytes
    vm_id: bytes
    vm_version: bytes
    report_data: bytes
    mnonce: bytes
    measure: bytes
    policy: int
    sig_usage: int
    sig_algo: int
    anonce: int = 0
    build: int = 0
    rtmr_version: int = 0
    reserved_0c2: bytes = bytes(14)
    rtmr0: bytes = bytes(32)
    rtmr1: bytes = bytes(32)
    rtmr2: bytes = bytes(32)
    rtmr3: bytes = bytes(32)
    rtmr4: bytes = bytes(32)
    reserved_170: bytes = b""
    host_data: bytes = b""
    signature_r: bytes = bytes(72)
    signature_s: bytes = bytes(72)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """The PEK's certificate (2084 bytes) and the serial number (64), in clear, with what is stored beside them.

    masked: both are stored XORed with ``anonce``, as the firmware of version 1 hands them out.
    """

    pek: bytes
    serial_number: bytes
    reserved: bytes = bytes(32)
    mac: bytes = bytes(32)
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvReport:
    """One report. ``to_bytes`` gives the shortest form: 2548 bytes in version 1, the wrapper of 4116 in the others."""

    version: int
    info: TeeInfo
    signer: Signer

    @classmethod
    def from_bytes(cls, data: bytes) -> CsvReport:
        """2548 bytes, the same padded to 4096, or magic, flags and 4096 bytes. Padding is zero.

        Raises `MalformedEvidence`; `UnsupportedEvidence` for magic and flags that name no version.
        """
        version, reader = 1, Reader(data, "csv_report")
        if len(data) == WRAPPER_SIZE:
            magic, flags, data = reader.unpack(_WRAPPER, "wrapper")
            version, reader = _version(magic, flags), Reader(data, "csv_report")
        elif len(data) not in SIZES:
            raise reader.malformed("not the size of a report", expected=list(SIZES), got=len(data))
        info = _read_info(reader, version)
        signer = _read_signer(reader, info.anonce)
        if any(reader.rest()):
            raise reader.malformed("the padding is not zero")
        return cls(version=version, info=info, signer=signer)

    def to_bytes(self) -> bytes:
        """The report again, see the class."""
        report = self._info_bytes + self._signer_bytes
        return report if self.version == 1 else _WRAPPER.pack(MAGIC, _FLAGS[self.version], report)

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers, as stored: 180 bytes in version 1, 1024 in the others."""
        return self._info_bytes[: SIGNED_SIZE if self.version == 1 else EXTENDED_SIGNED_SIZE]

    @property
    def maced_bytes(self) -> bytes:
        """What the HMAC covers, as stored: certificate, serial number, reserved bytes."""
        return self._signer_bytes[: -len(self.signer.mac)]

    @property
    def as_firmware_wrote_it(self) -> bool:
        """The signer has not been through the guest library, so its HMAC can be computed again."""
        return self.signer.masked or any(self.signer.reserved)

    @property
    def _info_bytes(self) -> bytes:
        common = mask(_COMMON.pack(*_COMMON_VALUES(self.info)), self.info.anonce)
        return common + _TAILS[self.version].pack(*_TAIL_VALUES[self.version](self.info))

    @property
    def _signer_bytes(self) -> bytes:
        signer = self.signer
        anonce = self.info.anonce if signer.masked else 0
        return _SIGNER.pack(mask(signer.pek, anonce), mask(signer.serial_number, anonce), signer.reserved, signer.mac)


_COMMON_NAMES = ("user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure", "policy", "sig_usage",
                 "sig_algo")
_SIGNATURE = ("signature_r", "signature_s")
_EXTENDED = ("build", "rtmr_version", "reserved_0c2", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "rtmr4", "reserved_170")
_TAILS = {1: _TAIL_1, 2: _TAIL_2, 3: _TAIL_3}
_TAIL_NAMES = {1: ("anonce", *_SIGNATURE), 2: (*_EXTENDED, *_SIGNATURE), 3: (*_EXTENDED, "host_data", *_SIGNATURE)}
_COMMON_VALUES = attrgetter(*_COMMON_NAMES)
_TAIL_VALUES = {version: attrgetter(*names) for version, names in _TAIL_NAMES.items()}


def _version(magic: bytes, flags: int) -> int:
    if not any(magic) and flags == 0:
        return 1
    for version, value in _FLAGS.items():
        if (magic, flags) == (MAGIC, value):
            return version
    raise UnsupportedEvidence("csv_report.version", "magic and flags name no report version",
                              expected=sorted(_FLAGS.values()), got=f"{magic.hex()} {flags:#x}")


def _read_info(reader: Reader, version: int) -> TeeInfo:
    common = reader.take(_COMMON.size, "TEE info")
    tail = dict(zip(_TAIL_NAMES[version], reader.unpack(_TAILS[version], "TEE info"), strict=True))
    clear = _COMMON.unpack(mask(common, tail.get("anonce", 0)))
    return TeeInfo(**dict(zip(_COMMON_NAMES, clear, strict=True)), **tail)


def _read_signer(reader: Reader, anonce: int) -> Signer:
    """The certificate's own constants tell whether it is stored in clear."""
    pek, serial_number, reserved, mac = reader.unpack(_SIGNER, "signer")
    masked = anonce != 0 and not hygon_cert.resembles_certificate(pek)
    if masked:
        pek, serial_number = mask(pek, anonce), mask(serial_number, anonce)
    return Signer(pek=pek, serial_number=serial_number, reserved=reserved, mac=mac, masked=masked)


def mask(data: bytes, anonce: int) -> bytes:
    """``data`` XORed with the four bytes of ``anonce``, repeated; doing it twice undoes it."""
    if anonce == 0:
        return data
    size = len(data)
    repeated = (anonce.to_bytes(4, "little") * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def policy_fields(policy: int) -> dict[str, int]:
    """GUEST_POLICY by name."""
    return {name: policy >> low & (1 << bits) - 1 for name, low, bits in POLICY_FIELDS}
