"""Decoders for text formats that refuse what their lenient cousins let through.

Python's own decoders skip bad characters (base64), accept white space (hex), keep the last of two equal keys, admit
NaN (JSON) or nest until the stack ends. Signed documents and evidence are read through here instead.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any, NoReturn

from verifier.errors import MalformedEvidence

MAX_JSON_DEPTH = 32

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*\Z", re.ASCII)
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = str.maketrans("-_", "+/")
# Single tokens: a pattern for whole strings would start over at every quote of one that never ends.
_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def hex_bytes(text: object, field: str, size: int | None = None) -> bytes:
    """Bytes of a hexadecimal text, either case, no separators; ``size`` in bytes, None for any length."""
    if not isinstance(text, str) or not _HEX.match(text):
        raise MalformedEvidence("format.hex", f"{field} is not hexadecimal text", got=type(text).__name__)
    data = bytes.fromhex(text)
    if size is not None and len(data) != size:
        raise MalformedEvidence("format.hex", f"{field} has the wrong length", expected=f"{size} bytes",
                                got=f"{len(data)} bytes")
    return data


def base64_bytes(text: object, field: str, *, url: bool = False) -> bytes:
    """Bytes of canonical base64: standard and padded, or with ``url`` the URL alphabet without padding (RFC 4648)."""
    if not isinstance(text, str) or not text.isascii():
        raise MalformedEvidence("format.base64", f"{field} is not base64 text", got=type(text).__name__)
    padded = (text + "=" * (-len(text) % 4)).translate(_FROM_URL) if url else text
    try:
        data = binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        raise MalformedEvidence("format.base64", f"{field} is not base64 text") from None
    if (base64url(data) if url else binascii.b2a_base64(data, newline=False).decode()) != text:
        raise MalformedEvidence("format.base64", f"{field} is not canonical base64")
    return data


def base64url(data: bytes) -> str:
    """The URL alphabet without padding (RFC 7515 section 2): what `base64_bytes` reads with ``url``."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def json_value(data: bytes | str, field: str) -> Any:
    """A JSON text with unique keys, finite numbers, whole characters and at most `MAX_JSON_DEPTH` levels (RFC 8259)."""
    try:
        text = (data.encode() if isinstance(data, str) else data).decode("utf-8")
        _bound_depth(text, field)
        return _whole_characters(text, json.loads(text, object_pairs_hook=_unique, parse_constant=_constant,
                                                  parse_float=_finite))
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("format.json", f"{field} is not strict JSON: {error}") from None


def json_object(data: bytes | str, field: str) -> dict[str, Any]:
    """As `json_value`, and the value must be an object."""
    value = json_value(data, field)
    if not isinstance(value, dict):
        raise MalformedEvidence("format.json", f"{field} must be an object", expected="object",
                                got=type(value).__name__)
    return value


def _bound_depth(text: str, field: str) -> None:
    depth, in_string = 0, False
    for match in _TOKEN.finditer(text):
        found = match.group()
        if found == '"':
            in_string = not in_string
        elif found in ("[", "{") and not in_string:
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise MalformedEvidence("format.json", f"{field} nests too deeply", expected=f"<= {MAX_JSON_DEPTH}")
        elif found in ("]", "}") and not in_string:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _whole_characters(text: str, value: Any) -> Any:
    """``value``; raises ValueError when an escape in ``text`` is half of a surrogate pair, which is no character."""
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
