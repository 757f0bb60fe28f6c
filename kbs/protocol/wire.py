"""Bounded, strict JSON and base64 for the messages of the protocol.

The typed value comes from msgspec alone, which refuses bad UTF-8, lone surrogates, NaN and numbers out of range. It
keeps the last of two equal keys and nests to the interpreter's limit, so a walk over the document's braces and keys
refuses documents in which a key occurs twice or that nest deeply. No value is read from that walk.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from kbs.errors import KbsError, TooLarge
from verifier.errors import MalformedEvidence
from verifier.formats import strict

# Evidence is the only free-form JSON in the protocol; the deepest known kind nests five levels and has 200 tokens.
MAX_DEPTH = 32
MAX_TOKENS = 32768

T = TypeVar("T")

_OPEN, _CLOSE = b"{[", b"}]"
_SPACE = b" \t\r\n"
_NO_MARK = bytes(set(range(256)) - set(b"{}[]"))


def decode(decoder: msgspec.json.Decoder[T], body: bytes, what: str, limit: int, fault: type[KbsError]) -> T:
    """The value of ``decoder``'s type in ``body``, which holds at most ``limit`` bytes.

    ``what`` names the message in errors: ``protocol.<what>.size`` (`TooLarge`), and of the type ``fault``
    ``protocol.<what>.json``, ``.shape``, ``.nesting`` and ``.duplicate_key``.
    """
    if len(body) > limit:
        raise TooLarge(f"protocol.{what}.size", f"{what} is too large", expected=f"<= {limit} bytes",
                       got=f"{len(body)} bytes")
    try:
        value = decoder.decode(body)
        body.decode()  # members that the type does not know are skipped, bad UTF-8 and all
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").removeprefix(".") or "message"
        raise fault(f"protocol.{what}.shape", f"{what}, {field}: {message}") from None
    except (ValueError, RecursionError):
        raise fault(f"protocol.{what}.json", f"{what} is not strict JSON") from None
    _require_plain(body, what, fault)
    return value


def base64_bytes(text: str, id: str, field: str, fault: type[KbsError], *, url: bool = False,
                 size: int | None = None) -> bytes:
    """Canonical base64 of ``size`` bytes (None: any number), standard or with ``url`` of the URL kind, unpadded.

    Anything else raises ``fault`` with ``id``.
    """
    try:
        data = strict.base64_bytes(text, field, url=url)
    except MalformedEvidence as error:
        raise fault(id, error.detail) from None
    if size is not None and len(data) != size:
        raise fault(id, f"{field} has the wrong length", expected=f"{size} bytes", got=f"{len(data)} bytes")
    return data


def base64url(data: bytes) -> str:
    """The URL alphabet without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _require_plain(body: bytes, what: str, fault: type[KbsError]) -> None:
    keys: set[str] = set()
    outer: list[set[str]] = []
    tokens = 0
    for string, structure in _walk(body):
        if structure.lstrip(_SPACE)[:1] == b":":
            key = json.loads(b'"' + string + b'"') if b"\\" in string else string.decode()
            if key in keys:
                raise fault(f"protocol.{what}.duplicate_key", f"{what}: a key occurs twice", got=key[:64])
            keys.add(key)
        marks = structure.translate(None, _NO_MARK) if len(structure) > 2 else structure
        tokens += 1 + len(marks)
        if tokens > MAX_TOKENS:
            raise fault(f"protocol.{what}.nesting", f"{what} has too many members", expected=f"<= {MAX_TOKENS} tokens")
        for mark in marks:
            if mark in _OPEN:
                outer.append(keys)
                keys = set()
                if len(outer) > MAX_DEPTH:
                    raise fault(f"protocol.{what}.nesting", f"{what} nests too deeply", expected=f"<= {MAX_DEPTH} deep")
            elif mark in _CLOSE:
                keys = outer.pop()


def _walk(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each string of a valid document, without its quotes, with what stands between it and the next.

    What stands before the first string comes with an empty one.
    """
    pieces = iter(body.split(b'"'))
    string = b""
    for structure in pieces:
        yield string, structure
        string = next(pieces, b"")
        if string.endswith(b"\\"):
            string = _whole(string, pieces)


def _whole(piece: bytes, pieces: Iterator[bytes]) -> bytes:
    """A string that was split at its escaped quotes, put together again."""
    parts = [piece]
    while (len(parts[-1]) - len(parts[-1].rstrip(b"\\"))) % 2:
        parts.append(next(pieces))
    return b'"'.join(parts)
