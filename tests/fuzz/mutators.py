"""Mutations that get past the outer layer.

Bytes that are turned over at random in a base64 text inside JSON, in a certificate inside PEM or in the middle of
nested lengths mostly end in the first check. Half of all mutations are libFuzzer's own; the other half look at what the
input is (parts, JSON, PEM, CBOR, DER), choose something inside, mutate that, and write everything around it as it
should be.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import cbor2

from tests.fuzz.harness import pack, unpack

Mutate = Callable[[bytes, int], bytes]  # as `atheris.Mutate`: the data and the most bytes it may have afterwards

_PEM = re.compile(rb"(-----BEGIN [A-Z0-9 ]+-----\r?\n)([A-Za-z0-9+/=\r\n]+)(-----END)")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+\Z")
_B64 = re.compile(r"[A-Za-z0-9+/_-]{4,}={0,2}\Z")
_ROOM = 64  # by how many bytes an inner part may grow
_MAX_DEPTH = 4
_ODD = (None, True, False, 0, 1, -1, 255, 256, 1 << 16, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
        1 << 64, 1.5, "", "00", "a", [], {}, [[]], {"": ""}, "\u0000", "\u00e9", "9" * 40)


class Mutator:
    """Bound to one source of byte mutations; `__call__` is a custom mutator for libFuzzer."""

    def __init__(self, mutate: Mutate) -> None:
        self._mutate = mutate

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """At most ``max_size`` bytes; the same for the same arguments and state of libFuzzer."""
        random = Random(seed)
        if random.random() < 0.5:
            return self._mutate(data, max_size)
        found = self.inside(data, random, 0)
        return found if len(found) <= max_size else self._mutate(data, max_size)

    def inside(self, data: bytes, random: Random, depth: int) -> bytes:
        """``data`` with something in it mutated, in whatever form it has."""
        if depth < _MAX_DEPTH and random.random() < 0.9:
            for form in (self._parts, self._json, self._pem, self._cbor, self._der):
                found = form(data, random, depth + 1)
                if found is not None:
                    return found
        return self._mutate(data, len(data) + _ROOM)

    def _parts(self, data: bytes, random: Random, depth: int) -> bytes | None:
        parts = unpack(data)
        if not parts:
            return None
        chosen, what = random.randrange(len(parts)), random.random()
        if what < 0.05:
            del parts[chosen]
        elif what < 0.1:
            parts.insert(random.randrange(len(parts) + 1), parts[chosen])
        else:
            name, separator, content = parts[chosen].partition(b"\x00")
            named = bool(separator) and re.fullmatch(rb"[a-zA-Z0-9_.*-]+", name) is not None
            parts[chosen] = (name + b"\x00" + self.inside(content, random, depth) if named
                             else self.inside(parts[chosen], random, depth))
        return pack(parts)

    def _pem(self, data: bytes, random: Random, depth: int) -> bytes | None:
        blocks = list(_PEM.finditer(data))
        if not blocks:
            return None
        block = random.choice(blocks)
        try:
            inner = self.inside(base64.b64decode(block[2]), random, depth)
        except binascii.Error:
            return None
        lines = base64.b64encode(inner)
        told = b"\n".join(lines[start:start + 64] for start in range(0, len(lines), 64)) + b"\n"
        return data[:block.start(2)] + told + data[block.end(2):]

    def _json(self, data: bytes, random: Random, depth: int) -> bytes | None:
        if data.lstrip()[:1] not in (b"{", b"["):
            return None
        try:
            value = json.loads(data)
            return json.dumps(self._tree(value, random, depth)).encode()
        except (ValueError, RecursionError):
            return None

    def _cbor(self, data: bytes, random: Random, depth: int) -> bytes | None:
        if not data or data[0] >> 5 not in (4, 5, 6):
            return None
        try:
            value = cbor2.loads(data)
            if cbor2.dumps(value) != data or not isinstance(value, dict | list | cbor2.CBORTag):
                return None
            return cbor2.dumps(self._tree(value, random, depth))
        except Exception:  # what is no CBOR fails in many ways: it has dates, decimals, patterns
            return None

    def _der(self, data: bytes, random: Random, depth: int) -> bytes | None:
        """One element of DER: its content mutated, its tag changed, or it left out or doubled; lengths fit again."""
        elements = _elements(data)
        if not elements or (data[:1] not in (b"\x30", b"\x31", b"\x02", b"\x04") and depth == 1):
            return None
        chosen, what = random.randrange(len(elements)), random.random()
        tag, content = elements[chosen]
        if what < 0.05:
            del elements[chosen]
        elif what < 0.1:
            elements.insert(chosen, elements[chosen])
        elif what < 0.15:
            elements[chosen] = random.randrange(256), content
        else:
            deeper = tag & 0x20 or tag == 4
            inner = self._der(content, random, depth) if deeper and random.random() < 0.9 else None
            elements[chosen] = tag, self._mutate(content, len(content) + _ROOM) if inner is None else inner
        return b"".join(bytes((tag,)) + _length(len(content)) + content for tag, content in elements)

    def _tree(self, value: Any, random: Random, depth: int) -> Any:
        """A decoded document with one thing in it changed."""
        if isinstance(value, cbor2.CBORTag):
            return cbor2.CBORTag(value.tag, self._tree(value.value, random, depth))
        if isinstance(value, list) and value and not _is_octets(value) and random.random() < 0.85:
            return self._list(value, random, depth)
        if isinstance(value, dict) and value and random.random() < 0.9:
            return self._dict(value, random, depth)
        return self._leaf(value, random, depth)

    def _list(self, value: list[Any], random: Random, depth: int) -> list[Any]:
        chosen, what, found = random.randrange(len(value)), random.random(), list(value)
        if what < 0.08:
            del found[chosen]
        elif what < 0.16:
            found.insert(random.randrange(len(found) + 1), found[chosen])
        else:
            found[chosen] = self._tree(found[chosen], random, depth)
        return found

    def _dict(self, value: dict[Any, Any], random: Random, depth: int) -> dict[Any, Any]:
        chosen, what, found = random.choice(list(value)), random.random(), dict(value)
        if what < 0.06:
            del found[chosen]
        elif what < 0.1 and isinstance(chosen, str | int):
            other = self._string(chosen, random, depth) if isinstance(chosen, str) else chosen + 1
            found[other] = found.pop(chosen)
        else:
            found[chosen] = self._tree(found[chosen], random, depth)
        return found

    def _leaf(self, value: Any, random: Random, depth: int) -> Any:
        if random.random() < 0.12:
            return random.choice(_ODD)
        if isinstance(value, bytes):
            return self.inside(value, random, depth)
        if isinstance(value, list):
            return list(self.inside(bytes(value), random, depth)) if _is_octets(value) else [value]
        if isinstance(value, str):
            return self._string(value, random, depth)
        if isinstance(value, int):
            return value + random.choice((1, -1, 1 << 8, 1 << 31))
        return random.choice(_ODD)

    def _string(self, value: str, random: Random, depth: int) -> str:
        if len(value) >= 4 and random.random() < 0.8:
            if _HEX.match(value):
                return self.inside(bytes.fromhex(value), random, depth).hex()
            if _B64.match(value):
                return self._base64(value, random, depth)
        if value[:1] in ("{", "[", "-") and random.random() < 0.9:
            return self.inside(value.encode(), random, depth).decode("utf-8", "replace")
        return self._mutate(value.encode(), len(value) * 2 + 8).decode("utf-8", "replace")

    def _base64(self, value: str, random: Random, depth: int) -> str:
        url = "-" in value or "_" in value or len(value) % 4 != 0
        encode = base64.urlsafe_b64encode if url else base64.b64encode
        decode = base64.urlsafe_b64decode if url else base64.b64decode
        try:
            told = encode(self.inside(decode(value + "=" * (-len(value) % 4)), random, depth)).decode()
        except (binascii.Error, ValueError):
            return value[::-1]
        return told if value.endswith("=") or not url else told.rstrip("=")


def _is_octets(value: list[Any]) -> bool:
    return len(value) > 3 and all(type(item) is int and 0 <= item < 256 for item in value)


def _elements(data: bytes) -> list[tuple[int, bytes]] | None:
    """The DER elements that ``data`` consists of; None when it is nothing but elements."""
    found = []
    while data:
        if len(data) < 2 or data[0] & 0x1F == 0x1F:
            return None
        size, start = data[1], 2
        if size & 0x80:
            start += size & 0x7F
            if not 2 < start <= 6:
                return None
            size = int.from_bytes(data[2:start], "big")
        if start + size > len(data):
            return None
        found.append((data[0], data[start:start + size]))
        data = data[start + size:]
    return found


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets
