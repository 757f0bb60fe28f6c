"""The little of Protocol Buffers that recorded attestations need: one message's fields, in order.

Varints must be minimal and fit 64 bits; groups are refused; fields that nobody asks for are passed over, as the format
wants it. Source: Protocol Buffers "Encoding".
"""

from __future__ import annotations

from verifier.formats.reader import Reader

MAX_FIELDS = 4096

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Message:
    """A message as field numbers and values: int for varints, bytes for everything else."""

    __slots__ = ("_fields", "_reader")

    def __init__(self, data: bytes, what: str) -> None:
        """Raises `MalformedEvidence`; ``what`` names the message in errors."""
        self._reader = Reader(data, what)
        self._fields: dict[int, list[int | bytes]] = {}
        count = 0
        while self._reader.remaining:
            count += 1
            if count > MAX_FIELDS:
                raise self._reader.malformed("too many fields", expected=f"<= {MAX_FIELDS}")
            number, value = self._field()
            self._fields.setdefault(number, []).append(value)

    def every(self, number: int) -> tuple[bytes, ...]:
        """All values of a repeated field of bytes, in order."""
        return tuple(self._bytes(value) for value in self._fields.get(number, ()))

    def optional(self, number: int) -> bytes | None:
        """A field of bytes that occurs at most once; None when it does not occur or, which is the same, is empty."""
        return self._bytes(self._only(number, b"")) or None

    def integer(self, number: int) -> int:
        """A varint that occurs at most once; 0 when it does not occur."""
        value = self._only(number, 0)
        if not isinstance(value, int):
            raise self._reader.malformed(f"field {number} is not an integer")
        return value

    def _only(self, number: int, default: int | bytes) -> int | bytes:
        values = self._fields.get(number, [default])
        if len(values) != 1:
            raise self._reader.malformed(f"field {number} occurs more than once", got=len(values))
        return values[0]

    def _bytes(self, value: int | bytes) -> bytes:
        if isinstance(value, bytes):
            return value
        raise self._reader.malformed("an integer stands where bytes must be")

    def _field(self) -> tuple[int, int | bytes]:
        key = self._varint()
        number, kind = key >> 3, key & 7
        if not number:
            raise self._reader.malformed("a field has number 0")
        if kind == _VARINT:
            return number, self._varint()
        if kind == _LENGTH:
            return number, self._reader.take(self._varint(), f"field {number}")
        if kind in (_FIXED64, _FIXED32):
            return number, self._reader.take(8 if kind == _FIXED64 else 4, f"field {number}")
        raise self._reader.malformed("unknown wire type", got=kind)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._reader.uint(1, "varint")
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                break
            shift += 7
            if shift > 63:
                raise self._reader.malformed("a varint is too long")
        if value >> 64 or (shift and not byte):
            raise self._reader.malformed("a varint is too large or not minimal", got=value)
        return value
