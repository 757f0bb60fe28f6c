"""Device paths, boot options and image load events, as text for people and policies.

Nodes are ``type u8, subtype u8, length u16, data``; a path ends with 7F FF 04 00. Texts have the form that Trustee's
claims have. Source: UEFI Specification 2.10, "Device Path Protocol", "Load Options"; TCG PC Client Platform Firmware
Profile, "UEFI_IMAGE_LOAD_EVENT".
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from verifier.eventlog.efi_variable import guid_text, utf16
from verifier.formats.reader import Reader

MAX_NODES = 64

_IMAGE = Struct("<QQQQ")
_DISK = Struct("<IQQ16sBB")
_END = (0x7F, 0xFF)


def read_device_paths(data: bytes) -> tuple[tuple[str, ...], ...]:
    """One text per node, end nodes left out; the paths fill ``data`` exactly. Raises `MalformedEvidence`."""
    reader, paths = Reader(data, "device_path"), list[tuple[str, ...]]()
    texts: list[str] = []
    for _ in range(MAX_NODES):
        if not reader.remaining:
            break
        kind, subkind, size = reader.uint(1, "type"), reader.uint(1, "subtype"), reader.uint(2, "length")
        body = reader.take(size - 4, "node")
        if (kind, subkind) == _END:
            paths.append(tuple(texts))
            texts = []
        else:
            texts.append(_text(kind, subkind, body))
    reader.end()
    if texts:
        raise reader.malformed("a path does not end")
    return tuple(paths)


def _text(kind: int, subkind: int, body: bytes) -> str:
    reader = Reader(body, "device_path")
    if (kind, subkind) == (1, 1) and len(body) == 2:
        return f"Pci({body[0]},{body[1]})"
    if (kind, subkind) == (2, 1) and len(body) == 8:
        vendor, product, unit = reader.uint(2, "HID"), reader.uint(2, "HID"), reader.uint(4, "UID")
        return f"ACPI({'PNP' if vendor == 0x41D0 else f'{vendor:04X}'}{product:04X},{unit})"
    if (kind, subkind) == (4, 1) and len(body) == _DISK.size:
        number, start, size, signature, _, signature_type = reader.unpack(_DISK, "hard drive")
        scheme, name = ("GPT", guid_text(signature).upper()) if signature_type == 2 else ("MBR", signature[:4].hex())
        return f"HD({number},{scheme},{name},{start:#x},{size:#x})"
    if (kind, subkind) == (4, 3) and len(body) >= 16:
        return f"VenMedia({guid_text(body[:16]).upper()},{body[16:].hex()})"
    if (kind, subkind) == (4, 4) and body.endswith(b"\x00\x00"):
        return f"File({utf16(reader, body[:-2])})"
    return f"Path({kind},{subkind},{body.hex()})"


@dataclass(frozen=True, slots=True)
class LoadOption:
    """EFI_LOAD_OPTION, a Boot#### variable. ``paths``: device paths, the first is the one that is booted."""

    active: bool
    description: str
    paths: tuple[tuple[str, ...], ...]
    optional_data: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> LoadOption:
        """Exactly one option. Raises `MalformedEvidence`."""
        reader = Reader(data, "load_option")
        attributes, path_size = reader.uint(4, "Attributes"), reader.uint(2, "FilePathListLength")
        units = bytearray()
        while (unit := reader.take(2, "Description")) != b"\x00\x00":
            units += unit
        path = reader.take(path_size, "FilePathList")
        return cls(bool(attributes & 1), utf16(reader, bytes(units)), read_device_paths(path), reader.rest())


def read_boot_order(data: bytes) -> tuple[str, ...]:
    """The names of boot options in the order of BootOrder. Raises `MalformedEvidence`."""
    reader = Reader(data, "boot_order")
    names = []
    while reader.remaining:
        names.append(f"Boot{reader.uint(2, 'option'):04X}")
    return tuple(names)


@dataclass(frozen=True, slots=True)
class ImageLoad:
    """UEFI_IMAGE_LOAD_EVENT: what firmware says of an image that it loaded; the digest is the image's, not this."""

    size: int
    paths: tuple[str, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageLoad:
        """Exactly one structure. Raises `MalformedEvidence`."""
        reader = Reader(data, "image_load")
        _, size, _, path_size = reader.unpack(_IMAGE, "image load event")
        path = reader.take(path_size, "DevicePath")
        reader.end()
        paths = read_device_paths(path)
        if len(paths) > 1:
            raise reader.malformed("an image is loaded from one device path", expected=1, got=len(paths))
        return cls(size, paths[0] if paths else ())
