"""Bounded, strict JSON and base64 for the messages of the protocol.

The typed value comes from msgspec alone, which refuses bad UTF-8, lone surrogates, NaN and numbers out of range. It
keeps the last of two equal keys and nests to the interpreter's limit, so a second reading, of which no value is kept,
refuses documents in which a key occurs twice or that nest deeply.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TypeVar

import msgspec

from kbs.errors import KbsError, TooLarge
from verifier.errors import MalformedEvidence
from verifier.formats import strict

# Evidence is the only free-form JSON in the protocol; the deepest known kind nests five levels and has 200 tokens.
MAX_DEPTH = 32
MAX_TOKENS = 32768

T = TypeVar("T")

_OPEN = b"{["
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
        _require_plain(body, what, fault)  # members that the type does not know were skipped, bad UTF-8 and all
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").removeprefix(".") or "message"
        raise fault(f"protocol.{what}.shape", f"{what}, {field}: {message}") from None
    except (ValueError, RecursionError):
        raise fault(f"protocol.{what}.json", f"{what} is not strict JSON") from None
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


def _require_plain(body: bytes, what: str, fault: type[KbsError]) -> None:
    """Refuse a document that nests deeply or in which a key occurs twice. Raises ValueError for what is no JSON."""
    openings = body.count(b"{") + body.count(b"[")
    if openings + body.count(b'"') // 2 > MAX_TOKENS:
        raise fault(f"protocol.{what}.nesting", f"{what} has too many members", expected=f"<= {MAX_TOKENS} tokens")
    if openings > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise fault(f"protocol.{what}.nesting", f"{what} nests too deeply", expected=f"<= {MAX_DEPTH} deep")

    def unique(pairs: list[tuple[str, None]]) -> None:
        if len(dict(pairs)) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise fault(f"protocol.{what}.duplicate_key", f"{what}: a key occurs twice", got=twice[:64])

    json.loads(body.decode(), object_pairs_hook=unique, parse_int=_unread, parse_float=_unread)


def _depth(body: bytes) -> int:
    """How many objects and lists are open at a time, at most, in a valid document."""
    outside = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]  # without escapes, every second piece
    deepest = depth = 0
    for mark in b"".join(outside).translate(None, _NO_MARK):
        depth += 1 if mark in _OPEN else -1
        deepest = max(deepest, depth)
    return deepest


def _unread(_text: str) -> None:
    """In the place of a number."""
