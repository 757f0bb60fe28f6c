"""The only file that counts bytes.

A `Reader` walks one bounded region. Nested lengths open a sub-region that must be consumed exactly, so a length field
can neither reach beyond its parent nor leave bytes that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any, Literal

from verifier.errors import MalformedEvidence

ByteOrder = Literal["little", "big"]


class Reader:
    """A cursor over ``data``; ``what`` names the structure in errors and becomes their id (``format.<what>``)."""

    __slots__ = ("_data", "_end", "_order", "_position", "what")

    def __init__(self, data: bytes, what: str, *, order: ByteOrder = "little") -> None:
        self._data = data
        self._position = 0
        self._end = len(data)
        self._order: ByteOrder = order
        self.what = what

    @property
    def position(self) -> int:
        """Offset of the next byte from the start of the whole buffer."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes left in the present region."""
        return self._end - self._position

    def take(self, size: int, field: str) -> bytes:
        """The next ``size`` bytes. Raises `MalformedEvidence` when the region holds fewer."""
        if size < 0 or size > self._end - self._position:
            raise self.malformed(f"{field} runs past the end", expected=f"{size} bytes", got=f"{self.remaining} bytes")
        start = self._position
        self._position = start + size
        return self._data[start : start + size]

    def uint(self, size: int, field: str) -> int:
        """An unsigned integer of ``size`` bytes in the reader's byte order."""
        return int.from_bytes(self.take(size, field), self._order)

    def unpack(self, layout: Struct, field: str) -> tuple[Any, ...]:
        """Fixed fields at once, as `struct` lays them out; the layout states its own byte order."""
        if layout.size > self._end - self._position:
            raise self.malformed(f"{field} runs past the end", expected=f"{layout.size} bytes",
                                 got=f"{self.remaining} bytes")
        start = self._position
        self._position = start + layout.size
        return layout.unpack_from(self._data, start)

    def rest(self) -> bytes:
        """All that is left of the region."""
        return self.take(self.remaining, "rest")

    def end(self) -> None:
        """The region must be consumed. Raises `MalformedEvidence` naming how many bytes are left."""
        if self._position != self._end:
            raise self.malformed("unexpected bytes at the end", expected="0 bytes", got=f"{self.remaining} bytes")

    @contextmanager
    def region(self, size: int, field: str) -> Iterator[Reader]:
        """Restrict the reader to the next ``size`` bytes, which must be consumed exactly."""
        if size < 0 or size > self.remaining:
            raise self.malformed(f"{field} runs past the end", expected=f"{size} bytes", got=f"{self.remaining} bytes")
        outer, self._end = self._end, self._position + size
        try:
            yield self
            if self._position != self._end:
                raise self.malformed(f"{field} is not consumed exactly", expected=f"{size} bytes",
                                     got=f"{size - self.remaining} bytes")
        finally:
            self._end = outer

    def malformed(self, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
        """An error about this structure, to be raised by the caller."""
        return MalformedEvidence(f"format.{self.what}", detail, expected=expected, got=got)
