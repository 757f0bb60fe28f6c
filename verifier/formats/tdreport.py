"""TDREPORT_STRUCT: what the TDX module tells a TD about itself, 1024 bytes, authenticated by a MAC.

    0    REPORTMACSTRUCT   256 bytes: type, CPUSVN, hashes of the two parts below, report data, MAC
    256  TEE_TCB_INFO      239 bytes and 17 of padding: the TDX module
    512  TDINFO            512 bytes: the TD

Only the processor that made it can check the MAC, so by itself a TDREPORT proves nothing to anybody else: a TD quote
made from it does, and says the same. Integers are little-endian. Source: Intel "TDX Module ABI Reference",
TDREPORT_STRUCT.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from operator import attrgetter
from struct import Struct

from verifier.formats.reader import Reader

# In the order of `TdreportStruct`.
_MAC_STRUCT = Struct("<4s12s16s48s48s64s32s32s")
_TCB_INFO = Struct("<8s16s48s48s8s16s95s")
_PADDING = Struct("<17s")
_TD_INFO = Struct("<8s8s48s48s48s48s48s48s48s48s48s64s")
_LAYOUTS = (_MAC_STRUCT, _TCB_INFO, _PADDING, _TD_INFO)

SIZE = sum(layout.size for layout in _LAYOUTS)
TYPE_TDX = 0x81
VERSION, VERSION_SERVICE_TD = 0, 1  # without and with a bound service TD


@dataclass(frozen=True, slots=True, kw_only=True)
class TdreportStruct:
    """Fields in wire order; names are those of the TD report in a quote where it has them.

    report_type: type (0x81), subtype, version, reserved. tee_tcb_info_hash, td_info_hash: SHA-384 of the two parts
    (239 and 512 bytes) as they should be. valid: which fields of TEE_TCB_INFO are. ``reserved_<offset>`` must be zero.
    """

    report_type: bytes
    reserved_4: bytes = bytes(12)
    cpu_svn: bytes
    tee_tcb_info_hash: bytes
    td_info_hash: bytes
    report_data: bytes
    reserved_192: bytes = bytes(32)
    mac: bytes
    valid: bytes
    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    tee_tcb_svn2: bytes
    reserved_400: bytes = bytes(95)
    reserved_495: bytes = bytes(17)
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    mr_service_td: bytes
    reserved_960: bytes = bytes(64)

    @classmethod
    def from_bytes(cls, data: bytes) -> TdreportStruct:
        """Exactly 1024 bytes. Raises `MalformedEvidence`."""
        reader = Reader(data, "tdreport")
        values = [value for layout in _LAYOUTS for value in reader.unpack(layout, "TDREPORT")]
        reader.end()
        return cls(**dict(zip(_NAMES, values, strict=True)))

    def to_bytes(self) -> bytes:
        """The 1024 bytes again."""
        values, packed = iter(_VALUES(self)), b""
        for layout in _LAYOUTS:
            count = len(layout.unpack(bytes(layout.size)))
            packed += layout.pack(*(next(values) for _ in range(count)))
        return packed

    @property
    def tee_tcb_info(self) -> bytes:
        """TEE_TCB_INFO, the 239 bytes that are hashed."""
        start = _MAC_STRUCT.size
        return self.to_bytes()[start : start + _TCB_INFO.size]

    @property
    def td_info(self) -> bytes:
        """TDINFO, 512 bytes."""
        return self.to_bytes()[-_TD_INFO.size :]

    @property
    def reserved(self) -> tuple[tuple[str, bytes], ...]:
        """Must-be-zero space by name."""
        return tuple((name, getattr(self, name)) for name in _NAMES if name.startswith("reserved_"))


def part_hash(part: bytes) -> bytes:
    """The hash by which REPORTMACSTRUCT names a part."""
    return hashlib.sha384(part).digest()


_NAMES = tuple(field.name for field in fields(TdreportStruct))
_VALUES = attrgetter(*_NAMES)
