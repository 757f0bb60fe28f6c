"""A strict reader of the CBOR that attestation uses.

Rules of the room: one item has one encoding here. Integers and lengths are in their shortest form, lengths are
definite, keys are integers or text and occur once, text is UTF-8, nothing follows the item, and there are no tags but
those that the caller asks for. Integers, byte strings, text, arrays, maps and null are read; floats, true and false,
undefined and other simple values are not: no maker signs them. Input is bounded in size by the caller, in depth by
`MAX_DEPTH`. One exception: newer Nitro documents open with a map of indefinite length, so a caller may permit just the
outermost array or map to be of that form.

Reading stands on `Reader`, and the library only writes: what a library decodes for convenience (dates, big numbers,
shared references, the last of two equal keys, longer forms of one integer) is what must be refused here, and by the
time it has decoded, the difference can no longer be seen. Source: RFC 8949, section 4.2.1 without its order of keys.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import cbor2

from verifier.errors import MalformedEvidence
from verifier.formats.reader import Reader

MAX_DEPTH = 16

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE, _BREAK, _NULL = 31, 0xFF, 0xF6
_NAMES = ("an integer", "an integer", "a byte string", "text", "an array", "a map", "a tag", "a simple value")


@dataclass(frozen=True, slots=True)
class Tagged:
    """An item under a tag."""

    tag: int
    value: Any


def decode(data: bytes, what: str, *, max_size: int, tags: Container[int] = (), indefinite_top: bool = False) -> Any:
    """The one item that ``data`` is: int, bytes, str, None, tuple, dict or `Tagged`.

    what: names the structure in errors (``format.<what>``). max_size: in bytes. tags: which may occur, anywhere.
    indefinite_top: whether the outermost array or map may be of indefinite length. Raises `MalformedEvidence`.
    """
    reader = Reader(data, what, order="big")
    if len(data) > max_size:
        raise reader.malformed("too large", expected=f"<= {max_size} bytes", got=f"{len(data)} bytes")
    value = _Decoder(reader, tags).item(0, indefinite_top)
    reader.end()
    return value


class _Decoder:
    """One pass over a reader."""

    __slots__ = ("_reader", "_tags")

    def __init__(self, reader: Reader, tags: Container[int]) -> None:
        self._reader = reader
        self._tags = tags

    def item(self, depth: int, may_be_open: bool = False) -> Any:
        """The next item, ``depth`` levels down."""
        return self._item(self._reader.uint(1, "CBOR item"), depth, may_be_open)

    def _item(self, initial: int, depth: int, may_be_open: bool = False) -> Any:
        """The item that begins with the byte ``initial``."""
        if depth >= MAX_DEPTH:
            raise self._reader.malformed("nests too deeply", expected=f"<= {MAX_DEPTH} levels")
        kind, info = initial >> 5, initial & 0x1F
        if kind in (_ARRAY, _MAP):
            is_open = info == _INDEFINITE and may_be_open
            size = None if is_open else self._argument(kind, info)
            return self._array(size, depth) if kind == _ARRAY else self._map(size, depth)
        if kind == _SIMPLE:
            return self._null(initial)
        argument = self._argument(kind, info)
        if kind in (_UINT, _NINT):
            return argument if kind == _UINT else -1 - argument
        if kind == _TAG:
            return self._tagged(argument, depth)
        content = self._reader.take(argument, "CBOR string")
        return content if kind == _BYTES else self._text(content)

    def _argument(self, kind: int, info: int) -> int:
        """The number in an item's head, in its shortest form (RFC 8949 section 3)."""
        if info < 24:
            return info
        if info > 27:
            indefinite = info == _INDEFINITE
            raise self._reader.malformed("indefinite length" if indefinite else "reserved CBOR head", got=_NAMES[kind])
        size = 1 << (info - 24)
        value = self._reader.uint(size, "CBOR head")
        if value < 24 if size == 1 else value >> (4 * size) == 0:
            raise self._reader.malformed("a number is not in its shortest form", got=value)
        return value

    def _array(self, size: int | None, depth: int) -> tuple[Any, ...]:
        return tuple(self._item(initial, depth + 1) for initial in self._members(size, 1))

    def _map(self, size: int | None, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        for initial in self._members(size, 2):
            key = self._item(initial, depth + 1)
            if not isinstance(key, int | str):
                raise self._reader.malformed("a key is neither an integer nor text", got=type(key).__name__)
            if key in found:
                raise self._reader.malformed("a key occurs twice", got=str(key)[:32])
            found[key] = self.item(depth + 1)
        return found

    def _members(self, size: int | None, items: int) -> Iterator[int]:
        """The first byte of each member, of which there are ``size``, or as many as come before the break where it is
        None. A member has ``items`` items."""
        reader = self._reader
        if size is None:
            while (initial := reader.uint(1, "CBOR item")) != _BREAK:
                yield initial
            return
        if size * items > reader.remaining:  # an item has at least one byte
            raise reader.malformed("more members are announced than bytes are left", expected=size * items,
                                   got=f"{reader.remaining} bytes")
        for _ in range(size):
            yield reader.uint(1, "CBOR item")

    def _tagged(self, tag: int, depth: int) -> Tagged:
        if tag not in self._tags:
            raise self._reader.malformed("unexpected tag", got=tag)
        return Tagged(tag, self.item(depth + 1))

    def _null(self, initial: int) -> None:
        if initial != _NULL:
            raise self._reader.malformed("only null is read of floats and simple values", got=hex(initial))

    def _text(self, content: bytes) -> str:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise self._reader.malformed("text is not UTF-8") from None


def encode(value: Any) -> bytes:
    """``value`` in the encoding that `decode` reads, maps in their own order.

    ``encode(decode(data, …)) == data`` for all that `decode` accepts with definite lengths. Raises TypeError for what
    it never returns.
    """
    return cbor2.dumps(_writable(value))


def _writable(value: Any) -> Any:
    """``value`` in the library's types."""
    kind = type(value)
    if kind is Tagged:
        return cbor2.CBORTag(value.tag, _writable(value.value))
    if kind is tuple:
        return [_writable(item) for item in value]
    if kind is dict:
        return {_writable(key): _writable(item) for key, item in value.items()}
    if kind in (bytes, str, type(None)) or (kind is int and -(1 << 64) <= value < 1 << 64):
        return value
    raise TypeError(f"no CBOR of {kind.__name__} here")


def encode_open_map(value: dict[Any, Any]) -> bytes:
    """A map as `encode` writes it, but of indefinite length."""
    members = b"".join(encode(key) + encode(item) for key, item in value.items())
    return bytes((_MAP << 5 | _INDEFINITE,)) + members + bytes((_BREAK,))


class Members:
    """The members of one map, taken by key and each of its type; at the `end` there must be none left.

    Every method raises `MalformedEvidence` naming the member. With ``optional`` a member that is not there is None;
    with ``nullable`` so is one that is null.
    """

    __slots__ = ("_left", "what")

    def __init__(self, value: object, what: str) -> None:
        self.what = what
        if not isinstance(value, dict):
            self.malformed("not a map", expected="map", got=type(value).__name__)
        self._left = dict(value)

    def octets(self, key: int | str, name: str, sizes: Container[int]) -> bytes:
        """A byte string whose length is in ``sizes``."""
        value = self._take(key, name, bytes)
        if len(value) not in sizes:
            self.malformed(f"{name} has the wrong length", expected=f"{sizes} bytes", got=f"{len(value)} bytes")
        return bytes(value)

    def octets_or_none(self, key: int | str, name: str, sizes: Container[int]) -> bytes | None:
        """As `octets`, or None where the member is null or absent."""
        if self._left.get(key) is None:
            self._left.pop(key, None)
            return None
        return self.octets(key, name, sizes)

    def text(self, key: int | str, name: str, longest: int) -> str:
        """Text of 1 to ``longest`` characters."""
        value = self._take(key, name, str)
        if not 0 < len(value) <= longest:
            self.malformed(f"{name} has the wrong length", expected=f"1..{longest} characters", got=len(value))
        return str(value)

    def text_if_any(self, key: int | str, name: str, longest: int) -> str | None:
        """As `text`, or None where there is no such member."""
        return self.text(key, name, longest) if key in self._left else None

    def unsigned(self, key: int | str, name: str, bits: int) -> int:
        """An integer of 0 to 2^bits - 1."""
        value = self._take(key, name, int)
        if not 0 <= value < 1 << bits:
            self.malformed(f"{name} is out of range", expected=f"{bits} bits", got=value)
        return int(value)

    def integer(self, key: int | str, name: str) -> int:
        """Any integer."""
        return int(self._take(key, name, int))

    def array(self, key: int | str, name: str, counts: Container[int]) -> tuple[Any, ...]:
        """An array whose number of items is in ``counts``."""
        value = self._take(key, name, tuple)
        if len(value) not in counts:
            self.malformed(f"{name} has the wrong number of items", expected=str(counts), got=len(value))
        return tuple(value)

    def table(self, key: int | str, name: str) -> dict[Any, Any]:
        """A map."""
        return dict(self._take(key, name, dict))

    def end(self) -> None:
        """All members must have been taken."""
        if self._left:
            self.malformed("unknown members", got=[str(key)[:32] for key in self._left][:8])

    def malformed(self, detail: str, *, expected: object = None, got: object = None) -> NoReturn:
        """Raise an error about this map."""
        raise MalformedEvidence(f"format.{self.what}", detail, expected=expected, got=got)

    def _take(self, key: int | str, name: str, kind: type) -> Any:
        if key not in self._left:
            self.malformed(f"{name} is missing")
        value = self._left.pop(key)
        if type(value) is not kind:
            self.malformed(f"{name} has the wrong type", expected=kind.__name__, got=type(value).__name__)
        return value
