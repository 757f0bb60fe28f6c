"""UEFI_VARIABLE_DATA: what firmware logs, and mostly hashes, of a variable.

    GUID 16, name length u64 (UTF-16 units), data length u64, name, data

Little-endian, consumed exactly. Source: TCG PC Client Platform Firmware Profile, "UEFI_VARIABLE_DATA".
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from verifier.formats.reader import Reader

MAX_NAME = 1024


def guid_text(data: bytes) -> str:
    """16 bytes as UEFI writes a GUID: the first three fields are little-endian."""
    return str(UUID(bytes_le=data))


def guid_bytes(text: str) -> bytes:
    """The 16 bytes of a GUID."""
    return UUID(text).bytes_le


GLOBAL = guid_bytes("8be4df61-93ca-11d2-aa0d-00e098032b8c")
IMAGE_SECURITY = guid_bytes("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SHIM = guid_bytes("605dab50-e046-4300-abb6-3dd810dd8b23")


@dataclass(frozen=True, slots=True)
class Variable:
    """``guid``: 16 bytes as on the wire."""

    guid: bytes
    name: str
    data: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Variable:
        """Exactly one structure. Raises `MalformedEvidence`."""
        reader = Reader(data, "efi_variable")
        guid = reader.take(16, "GUID")
        name_size, data_size = reader.uint(8, "name length"), reader.uint(8, "data length")
        if name_size > MAX_NAME:
            raise reader.malformed("the name is too long", expected=f"<= {MAX_NAME}", got=name_size)
        name = utf16(reader, reader.take(2 * name_size, "name"))
        value = reader.take(data_size, "data")
        reader.end()
        return cls(guid, name, value)

    def to_bytes(self) -> bytes:
        """The structure again."""
        name = self.name.encode("utf-16-le")
        sizes = (len(name) // 2).to_bytes(8, "little") + len(self.data).to_bytes(8, "little")
        return self.guid + sizes + name + self.data


def utf16(reader: Reader, data: bytes) -> str:
    """UTF-16LE text without NUL. Raises `MalformedEvidence` in the reader's name."""
    try:
        text = data.decode("utf-16-le")
    except UnicodeDecodeError:
        raise reader.malformed("not UTF-16 text") from None
    if "\x00" in text:
        raise reader.malformed("text holds a NUL")
    return text
