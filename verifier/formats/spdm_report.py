"""The report of an NVIDIA GPU or NVSwitch: an SPDM GET_MEASUREMENTS request and the response to it, in one piece.

    request   version 0x11, code 0xE0, param1, param2, nonce 32, slot
    response  version 0x11, code 0x60, param1, param2, count of blocks, length of the record (3), the blocks,
              responder nonce 32, length of the opaque data (2), the opaque data, signature 96

The device signs everything before the signature, so request and nonce are part of what it vouches for. The layout has
no gap and nothing may follow the signature. Integers are little-endian, the signature is r || s big-endian. Values are
told and not judged here: `verifier.checks.nvidia` does that. Source: DMTF DSP0274 1.1 (GET_MEASUREMENTS, MEASUREMENTS,
DMTF measurement format); the opaque data is NVIDIA's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader

VERSION = 0x11
GET_MEASUREMENTS, MEASUREMENTS = 0xE0, 0x60
NONCE_SIZE, DIGEST_SIZE, SIGNATURE_SIZE = 32, 48, 96
DMTF_MEASUREMENT = 1
MAX_REPORT_BYTES = 64 * 1024

_REQUEST = Struct("<BBBB32sB")
_RESPONSE = Struct("<BBBBB3s")
_BLOCK = Struct("<BBHBH48s")  # index, specification, size, then value type, value size and value
_OPAQUE = Struct("<HH")
_BLOCK_VALUE_SIZE = _BLOCK.size - 4


class OpaqueType(IntEnum):
    """What a piece of the opaque data is. Names are NVIDIA's."""

    CERT_ISSUER_NAME = 1
    CERT_AUTHORITY_KEY_IDENTIFIER = 2
    DRIVER_VERSION = 3
    GPU_INFO = 4
    SKU = 5
    VBIOS_VERSION = 6
    MANUFACTURER_ID = 7
    TAMPER_DETECTION = 8
    SMC = 9
    VPR = 10
    NVDEC0_STATUS = 11
    MSRSCNT = 12
    CPRINFO = 13
    BOARD_ID = 14
    CHIP_SKU = 15
    CHIP_SKU_MOD = 16
    PROJECT = 17
    PROJECT_SKU = 18
    PROJECT_SKU_MOD = 19
    FWID = 20
    PROTECTED_PCIE_STATUS = 21
    DEVICE_PDI = 22
    FLOORSWEPT_PORTS = 23
    POSITION_ID = 24
    LOCK_SWITCH_STATUS = 25
    SWITCH_GPU_PDIS = 26
    GPU_LINK_CONN = 32
    SYS_ENABLE_STATUS = 33
    OPAQUE_DATA_VERSION = 34
    CHIP_INFO = 35
    FEATURE_FLAG = 36
    INVALID = 255


@dataclass(frozen=True, slots=True)
class MeasurementBlock:
    """One measurement in DMTF's format: ``value`` is a SHA-384 digest, 48 bytes; ``value_type`` what it is of."""

    index: int
    value: bytes
    value_type: int = 1
    specification: int = DMTF_MEASUREMENT

    @classmethod
    def read(cls, reader: Reader) -> MeasurementBlock:
        """The next 55 bytes."""
        index, specification, size, value_type, value_size, value = reader.unpack(_BLOCK, "measurement block")
        if (specification, size, value_size) != (DMTF_MEASUREMENT, _BLOCK_VALUE_SIZE, DIGEST_SIZE):
            raise reader.malformed("a measurement block is not a SHA-384 digest in DMTF's format",
                                   expected=[DMTF_MEASUREMENT, _BLOCK_VALUE_SIZE, DIGEST_SIZE],
                                   got=[specification, size, value_size])
        return cls(index, value, value_type, specification)

    def to_bytes(self) -> bytes:
        """The 55 bytes again."""
        return _BLOCK.pack(self.index, self.specification, _BLOCK_VALUE_SIZE, self.value_type, DIGEST_SIZE, self.value)


@dataclass(frozen=True, slots=True)
class OpaqueField:
    """One piece of the opaque data; ``type`` is an `OpaqueType` where it is known."""

    type: int
    data: bytes

    def to_bytes(self) -> bytes:
        """Type, size, data."""
        return _OPAQUE.pack(self.type, len(self.data)) + self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class SpdmReport:
    """Request and response.

    nonce: 32 bytes that whoever asked put into the request. request_param1: bit 0 asks for a signature;
    request_param2: 0xFF asks for every measurement. slot: whose certificate chain answers. param1, param2: of the
    response. blocks: numbered 1, 2, 3 …. responder_nonce: the device's own 32 bytes. signature: r || s, 96 bytes.
    """

    nonce: bytes
    request_param1: int = 1
    request_param2: int = 0xFF
    slot: int = 0
    param1: int = 0
    param2: int = 0
    blocks: tuple[MeasurementBlock, ...]
    responder_nonce: bytes
    opaque: tuple[OpaqueField, ...]
    signature: bytes = field(default=bytes(SIGNATURE_SIZE))

    @classmethod
    def from_bytes(cls, data: bytes) -> SpdmReport:
        """All of ``data``. Raises `MalformedEvidence`; `UnsupportedEvidence` for another SPDM version or message."""
        reader = Reader(data, "spdm_report")
        if len(data) > MAX_REPORT_BYTES:
            raise reader.malformed("the report is too large", expected=f"<= {MAX_REPORT_BYTES} bytes",
                                   got=f"{len(data)} bytes")
        version, code, request_param1, request_param2, nonce, slot = reader.unpack(_REQUEST, "request")
        _check_kind("request", (version, code), (VERSION, GET_MEASUREMENTS))
        version, code, param1, param2, count, record = reader.unpack(_RESPONSE, "response")
        _check_kind("response", (version, code), (VERSION, MEASUREMENTS))
        blocks = _read_blocks(reader, count, int.from_bytes(record, "little"))
        responder_nonce = reader.take(NONCE_SIZE, "responder nonce")
        opaque = _read_opaque(reader, reader.uint(2, "length of the opaque data"))
        signature = reader.take(SIGNATURE_SIZE, "signature")
        reader.end()
        return cls(nonce=nonce, request_param1=request_param1, request_param2=request_param2, slot=slot, param1=param1,
                   param2=param2, blocks=blocks, responder_nonce=responder_nonce, opaque=opaque, signature=signature)

    def to_bytes(self) -> bytes:
        """The bytes again."""
        return self.signed_bytes + self.signature

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: all that precedes it. The layout has no gap, so these are the bytes received."""
        record = b"".join(block.to_bytes() for block in self.blocks)
        opaque = b"".join(piece.to_bytes() for piece in self.opaque)
        return b"".join((
            _REQUEST.pack(VERSION, GET_MEASUREMENTS, self.request_param1, self.request_param2, self.nonce, self.slot),
            _RESPONSE.pack(VERSION, MEASUREMENTS, self.param1, self.param2, len(self.blocks),
                           len(record).to_bytes(3, "little")),
            record, self.responder_nonce, len(opaque).to_bytes(2, "little"), opaque))

    def field(self, kind: OpaqueType) -> bytes | None:
        """That piece of the opaque data, None when the device did not send it."""
        return next((piece.data for piece in self.opaque if piece.type == kind), None)

    @property
    def driver_version(self) -> str | None:
        """As ``535.86.09``. None on a switch, which has no driver of its own, and where it is not printable ASCII."""
        return _text(self.field(OpaqueType.DRIVER_VERSION))

    @property
    def vbios_version(self) -> str | None:
        """As ``96.00.5E.00.01``, in upper case. None where it is absent or of another form.

        A GPU sends a 64-bit integer, a switch ASCII text.
        """
        data = self.field(OpaqueType.VBIOS_VERSION)
        if data is None or len(data) != 8:
            text = _text(data)
            return None if text is None else text.upper()
        digits = f"{int.from_bytes(data, 'little'):016X}"
        if digits[:6] != "000000":
            return None
        ordered = digits[8:] + digits[6:8]
        return ".".join(ordered[start : start + 2] for start in range(0, len(ordered), 2))


def _check_kind(message: str, found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise UnsupportedEvidence("spdm_report.message", f"the {message} is not of SPDM 1.1 measurements",
                                  expected=[hex(value) for value in expected], got=[hex(value) for value in found])


def _read_blocks(reader: Reader, count: int, size: int) -> tuple[MeasurementBlock, ...]:
    """Exactly ``count`` blocks in ``size`` bytes, numbered from 1 without a gap: no index is missing or twice there."""
    with reader.region(size, "measurement record"):
        blocks = tuple(MeasurementBlock.read(reader) for _ in range(count))
    found = [block.index for block in blocks]
    if found != list(range(1, count + 1)):
        raise reader.malformed("measurement blocks must be numbered 1, 2, 3 …", got=found)
    return blocks


def _read_opaque(reader: Reader, size: int) -> tuple[OpaqueField, ...]:
    pieces: list[OpaqueField] = []
    with reader.region(size, "opaque data"):
        while reader.remaining:
            kind, length = reader.unpack(_OPAQUE, "head of a piece of the opaque data")
            pieces.append(OpaqueField(kind, reader.take(length, "piece of the opaque data")))
    if len({piece.type for piece in pieces}) != len(pieces):
        raise reader.malformed("a piece of the opaque data occurs twice", got=[piece.type for piece in pieces])
    return tuple(pieces)


def _text(data: bytes | None) -> str | None:
    """Printable ASCII, closed by at most one NUL."""
    if data is None:
        return None
    plain = data[:-1] if data.endswith(b"\x00") else data
    return plain.decode("ascii") if plain and all(0x21 <= byte <= 0x7E for byte in plain) else None
