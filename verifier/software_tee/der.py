"""A writer of DER (ITU-T X.690), as much of it as certificates and revocation lists need.

Every function returns one complete element. Nothing is validated: a maker of faulty certificates must be able to write
what no certificate library would. There is no reader here; what is written is read by the verifier's own libraries.
"""

from __future__ import annotations

from datetime import UTC, datetime

_SEQUENCE, _SET = 0x30, 0x31
_BOOLEAN, _INTEGER, _BIT_STRING, _OCTET_STRING, _OID, _ENUMERATED = 0x01, 0x02, 0x03, 0x04, 0x06, 0x0A
_UTF8, _PRINTABLE, _IA5, _UTC_TIME, _GENERALIZED_TIME = 0x0C, 0x13, 0x16, 0x17, 0x18

NULL = b"\x05\x00"


def element(tag: int, content: bytes) -> bytes:
    """Tag, length in the fewest octets, content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sequence(*elements: bytes) -> bytes:
    """SEQUENCE of what is given, in that order."""
    return element(_SEQUENCE, b"".join(elements))


def set_of(*elements: bytes) -> bytes:
    """SET OF, sorted as DER demands."""
    return element(_SET, b"".join(sorted(elements)))


def integer(value: int) -> bytes:
    """INTEGER, two's complement in the fewest octets: 0xD9 becomes ``02 02 00 d9``."""
    bits = (value if value >= 0 else ~value).bit_length()
    return element(_INTEGER, value.to_bytes(bits // 8 + 1, "big", signed=True))


def enumerated(value: int) -> bytes:
    """ENUMERATED, 0..127."""
    return element(_ENUMERATED, bytes((value,)))


def boolean(value: bool) -> bytes:
    """BOOLEAN: 0xFF or 0x00."""
    return element(_BOOLEAN, b"\xff" if value else b"\x00")


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return element(_OID, b"".join(_base128(arc) for arc in (40 * first + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def octet_string(value: bytes) -> bytes:
    """OCTET STRING."""
    return element(_OCTET_STRING, value)


def bit_string(value: bytes) -> bytes:
    """BIT STRING of whole octets."""
    return element(_BIT_STRING, b"\x00" + value)


def named_bits(*positions: int) -> bytes:
    """BIT STRING with the bits at ``positions`` set (0 is the first) and trailing zeros left out."""
    if not positions:
        return element(_BIT_STRING, b"\x00")
    width = max(positions) // 8 + 1
    value = sum(1 << (8 * width - 1 - position) for position in set(positions))
    return element(_BIT_STRING, bytes((8 * width - 1 - max(positions),)) + value.to_bytes(width, "big"))


def utf8(text: str) -> bytes:
    """UTF8String."""
    return element(_UTF8, text.encode())


def printable(text: str) -> bytes:
    """PrintableString."""
    return element(_PRINTABLE, text.encode("ascii"))


def ia5(text: str) -> bytes:
    """IA5String."""
    return element(_IA5, text.encode("ascii"))


def time(moment: int) -> bytes:
    """Unix seconds as RFC 5280 section 4.1.2.5 wants them: UTCTime through 2049, GeneralizedTime from 2050."""
    when = datetime.fromtimestamp(moment, UTC)
    if 1950 <= when.year <= 2049:
        return element(_UTC_TIME, when.strftime("%y%m%d%H%M%SZ").encode())
    return element(_GENERALIZED_TIME, when.strftime("%Y%m%d%H%M%SZ").encode())


def explicit(number: int, inner: bytes) -> bytes:
    """``[number] EXPLICIT`` around one element, or IMPLICIT for a constructed type given its content."""
    return element(0xA0 | number, inner)


def implicit(number: int, content: bytes) -> bytes:
    """``[number] IMPLICIT`` for a primitive type: ``content`` without its own tag and length."""
    return element(0x80 | number, content)
