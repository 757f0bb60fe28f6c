"""A strict reader for the little DER that makers put into certificate extensions.

Definite, minimal lengths only; single-byte tags; every constructed value is consumed exactly. Source: ITU-T X.690.
"""

from __future__ import annotations

from enum import IntEnum

from verifier.formats.reader import Reader


class Tag(IntEnum):
    """Universal tags that occur."""

    BOOLEAN = 0x01
    INTEGER = 0x02
    OCTET_STRING = 0x04
    OBJECT_IDENTIFIER = 0x06
    ENUMERATED = 0x0A
    UTF8_STRING = 0x0C
    IA5_STRING = 0x16
    SEQUENCE = 0x30


def element(reader: Reader) -> tuple[int, bytes]:
    """The next element's tag byte and content. Raises `MalformedEvidence`."""
    tag = reader.uint(1, "DER tag")
    if tag & 0x1F == 0x1F:
        raise reader.malformed("multi-byte DER tag", got=hex(tag))
    return tag, reader.take(_length(reader), "DER content")


def expect(reader: Reader, tag: Tag) -> bytes:
    """The content of the next element, which must have ``tag``."""
    found, content = element(reader)
    if found != tag:
        raise reader.malformed("unexpected DER tag", expected=tag.name, got=hex(found))
    return content


def only(data: bytes, what: str, tag: Tag) -> bytes:
    """The content of the one element that ``data`` is."""
    reader = Reader(data, what, order="big")
    content = expect(reader, tag)
    reader.end()
    return content


def unsigned(content: bytes, what: str) -> int:
    """A non-negative, minimally encoded INTEGER or ENUMERATED from its content."""
    reader = Reader(content, what, order="big")
    if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
        raise reader.malformed("not a minimal non-negative integer", got=content[:16])
    return int.from_bytes(content, "big")


def boolean(content: bytes, what: str) -> bool:
    """A BOOLEAN from its content: exactly 0x00 or 0xFF."""
    if content not in (b"\x00", b"\xff"):
        raise Reader(content, what).malformed("not a DER boolean", got=content[:16])
    return content == b"\xff"


def _length(reader: Reader) -> int:
    first = reader.uint(1, "DER length")
    if first < 0x80:
        return first
    size = first & 0x7F
    if not 1 <= size <= 4:
        raise reader.malformed("indefinite or oversized DER length", got=hex(first))
    length = reader.uint(size, "DER length")
    if length < 0x80 or length >> (8 * (size - 1)) == 0:
        raise reader.malformed("DER length is not minimal", got=length)
    return length
