"""Logs of confidential guests, and the ACPI table that says where firmware put one.

A guest sends one of three forms, told by the first bytes: dstack's JSON begins with "[", AAEL text with "INIT", and a
TCG log with a register number, which is neither. Source: ACPI Specification 6.5, "CC Event Log ACPI Table"; UEFI
Specification 2.10, "Confidential Computing".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from verifier.eventlog.aael import AaelLog
from verifier.eventlog.dstack import DstackLog
from verifier.eventlog.events import MAX_LOG_BYTES
from verifier.eventlog.tcg import TcgLog
from verifier.formats.reader import Reader

_TABLE = Struct("<4sIBB6s8sI4sIBBHQQ")
SIZE = _TABLE.size


def parse(data: bytes) -> AaelLog | DstackLog | TcgLog:
    """A log in whichever form. Raises `EvidenceError`."""
    if data.startswith(b"["):
        return DstackLog.from_bytes(data)
    if data.startswith(b"INIT "):
        return AaelLog.from_bytes(data)
    return TcgLog.from_bytes(data)


class CcType(IntEnum):
    """CC type of the table."""

    NONE = 0
    SEV = 1
    TDX = 2


@dataclass(frozen=True, slots=True)
class CcelTable:
    """The ACPI table "CCEL", 56 bytes.

    log_area_minimum_length, log_area_start_address: bytes and a guest physical address, for whoever reads memory; both
    are the firmware's words. The rest is the header of every ACPI table.
    """

    cc_type: int
    cc_subtype: int
    log_area_minimum_length: int
    log_area_start_address: int
    revision: int = 1
    checksum: int = 0
    oem_id: bytes = bytes(6)
    oem_table_id: bytes = bytes(8)
    oem_revision: int = 0
    creator_id: bytes = bytes(4)
    creator_revision: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> CcelTable:
        """Exactly one table, whose bytes sum to zero. Raises `MalformedEvidence`."""
        reader = Reader(data, "ccel_table")
        (signature, length, revision, checksum, oem_id, oem_table_id, oem_revision, creator_id, creator_revision,
         cc_type, cc_subtype, reserved, area_length, area_start) = reader.unpack(_TABLE, "table")
        reader.end()
        if signature != b"CCEL" or length != SIZE or reserved or sum(data) & 0xFF:
            raise reader.malformed("not a CCEL table", expected=f"CCEL, {SIZE} bytes, sum 0",
                                   got=f"{signature!r}, {length} bytes, sum {sum(data) & 0xFF}")
        if not 0 < area_length <= MAX_LOG_BYTES:
            raise reader.malformed("the log area is out of bounds", expected=f"<= {MAX_LOG_BYTES}", got=area_length)
        return cls(cc_type, cc_subtype, area_length, area_start, revision, checksum, oem_id, oem_table_id,
                   oem_revision, creator_id, creator_revision)

    def to_bytes(self) -> bytes:
        """The table again, with the checksum that it has."""
        return _TABLE.pack(b"CCEL", SIZE, self.revision, self.checksum, self.oem_id, self.oem_table_id,
                           self.oem_revision, self.creator_id, self.creator_revision, self.cc_type, self.cc_subtype, 0,
                           self.log_area_minimum_length, self.log_area_start_address)
