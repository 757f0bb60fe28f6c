"""What a device's certificate says of the firmware that its key belongs to: DICE extensions.

Two forms occur. Hopper and NVSwitch have a CompositeDeviceID, Blackwell a DiceTcbInfo:

    2.23.133.5.4.1    SEQUENCE { version INTEGER 1, device key SubjectPublicKeyInfo, FWID }
    2.23.133.5.4.1.1  SEQUENCE { vendor [0], model [1], version [2], svn [3], layer [4], index [5],
                                 fwids [6] { FWID, … }, flags [7] BIT STRING, vendor info [8], type [9] }
    FWID              SEQUENCE { hash OBJECT IDENTIFIER (sha384), digest OCTET STRING }

Sources: Microsoft RIoT "Device Identity with DICE and RIoT"; TCG "DICE Attestation Architecture" 1.1, section 6.1.1.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader

COMPOSITE_DEVICE_ID, TCB_INFO = "2.23.133.5.4.1", "2.23.133.5.4.1.1"
FWID_SIZE = 48
# OperationalFlags by bit, the first bit first.
OPERATIONAL_FLAGS = ("not_configured", "not_secure", "recovery", "debug", "not_replay_protected",
                     "not_integrity_protected", "not_runtime_measured", "not_immutable", "not_tcb")

_SHA384 = bytes.fromhex("608648016503040202")
_FWIDS, _FLAGS = 0xA6, 0x87
_MEMBERS = (0x80, 0x81, 0x82, 0x83, 0x84, 0x85, _FWIDS, _FLAGS, 0x88, 0x89)
_WHAT = "dice"


@dataclass(frozen=True, slots=True)
class FirmwareIdentity:
    """fwids: SHA-384 digests of the firmware, the layer's own first. device_key: the key of the device that certifies
    it (SubjectPublicKeyInfo), None where the form does not carry it. flags: names of the operational flags set."""

    fwids: tuple[bytes, ...]
    device_key: bytes | None = None
    flags: tuple[str, ...] = ()

    @classmethod
    def from_extension(cls, oid: str, value: bytes) -> FirmwareIdentity:
        """From an extension of one of the two names. Raises `MalformedEvidence`."""
        return _composite(value) if oid == COMPOSITE_DEVICE_ID else _tcb_info(value)


def _composite(value: bytes) -> FirmwareIdentity:
    reader = Reader(der.only(value, _WHAT, Tag.SEQUENCE), _WHAT, order="big")
    if der.unsigned(der.expect(reader, Tag.INTEGER), _WHAT) != 1:
        raise reader.malformed("unknown version of the CompositeDeviceID")
    start = value[len(value) - reader.remaining :]
    key = der.expect(reader, Tag.SEQUENCE)
    encoded = start[: len(start) - reader.remaining]
    if not key:
        raise reader.malformed("the device key is empty")
    fwid = _fwid(der.expect(reader, Tag.SEQUENCE))
    reader.end()
    return FirmwareIdentity((fwid,), encoded)


def _tcb_info(value: bytes) -> FirmwareIdentity:
    reader = Reader(der.only(value, _WHAT, Tag.SEQUENCE), _WHAT, order="big")
    found: dict[int, bytes] = {}
    while reader.remaining:
        tag, content = der.element(reader)
        if tag not in _MEMBERS or (found and tag & 0x1F <= max(known & 0x1F for known in found)):
            raise reader.malformed("unknown, repeated or misplaced member of the DiceTcbInfo", got=hex(tag))
        found[tag] = content
    if _FWIDS not in found:
        raise reader.malformed("the DiceTcbInfo has no FWID")
    inner = Reader(found[_FWIDS], _WHAT, order="big")
    fwids = []
    while inner.remaining:
        fwids.append(_fwid(der.expect(inner, Tag.SEQUENCE)))
    if not fwids:
        raise inner.malformed("the DiceTcbInfo has no FWID")
    return FirmwareIdentity(tuple(fwids), flags=_flags(found.get(_FLAGS, b"\x00")))


def _fwid(content: bytes) -> bytes:
    reader = Reader(content, _WHAT, order="big")
    algorithm = der.expect(reader, Tag.OBJECT_IDENTIFIER)
    digest = der.expect(reader, Tag.OCTET_STRING)
    reader.end()
    if algorithm != _SHA384 or len(digest) != FWID_SIZE:
        raise reader.malformed("the FWID is not SHA-384", got=algorithm)
    return digest


def _flags(content: bytes) -> tuple[str, ...]:
    """Names of the bits that are set in the content of a BIT STRING."""
    reader = Reader(content, _WHAT, order="big")
    if reader.uint(1, "unused bits") > 7:
        raise reader.malformed("not a DER bit string", got=content[:8])
    bits = reader.rest()
    return tuple(name for bit, name in enumerate(OPERATIONAL_FLAGS)
                 if bit // 8 < len(bits) and bits[bit // 8] >> (7 - bit % 8) & 1)
