"""UEFI_GPT_DATA: the partition table that firmware measured before it booted from it.

    EFI_PARTITION_TABLE_HEADER 92, number of entries u64, entries 128 each

Only partitions that are in use are logged. Source: TCG PC Client Platform Firmware Profile, "UEFI_GPT_DATA"; UEFI
Specification 2.10, "GPT Header", "GPT Partition Entry Array".
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from verifier.eventlog.efi_variable import guid_text
from verifier.formats.reader import Reader

MAX_PARTITIONS = 256

_HEADER = Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = Struct("<16s16sQQQ72s")


@dataclass(frozen=True, slots=True)
class Partition:
    """Addresses are logical blocks, inclusive; ``name`` ends at its first NUL."""

    type: str
    guid: str
    first: int
    last: int
    attributes: int
    name: str


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """``disk``: the disk's GUID."""

    disk: str
    partitions: tuple[Partition, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> PartitionTable:
        """Exactly one structure. Raises `MalformedEvidence`."""
        reader = Reader(data, "gpt")
        header = reader.unpack(_HEADER, "header")
        count = reader.uint(8, "NumberOfPartitions")
        if header[0] != b"EFI PART" or header[12] != _ENTRY.size or count > MAX_PARTITIONS:
            raise reader.malformed("not a partition table", expected=f"EFI PART, at most {MAX_PARTITIONS} partitions",
                                   got=[header[0], header[12], count])
        partitions = tuple(_partition(reader) for _ in range(count))
        reader.end()
        return cls(guid_text(header[9]), partitions)


def _partition(reader: Reader) -> Partition:
    type, guid, first, last, attributes, name = reader.unpack(_ENTRY, "partition")
    text = name.decode("utf-16-le", "replace").partition("\x00")[0]
    return Partition(guid_text(type), guid_text(guid), first, last, attributes, text)
