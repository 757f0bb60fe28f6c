"""JSON documents of an image: strict, with errors of this room, and with one reading only.

Go's decoder, which most other tools use, matches member names without regard to letter case and takes the last of
several. A document that such a decoder would read differently from this one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attestation.errors import MalformedImage
from verifier.errors import MalformedEvidence
from verifier.formats import strict


@contextmanager
def malformed_as(id: str) -> Iterator[None]:
    """Refusals of the strict decoders inside the block become `MalformedImage` under ``id``."""
    try:
        yield
    except MalformedEvidence as error:
        raise MalformedImage(id, error.detail, expected=error.expected, got=error.got) from None


def read_object(data: bytes, what: str, id: str, *, limit: int) -> dict[str, Any]:
    """The JSON object in ``data``, at most ``limit`` bytes long."""
    if len(data) > limit:
        raise MalformedImage(id, f"{what} is too large", expected=f"<= {limit} bytes", got=f"{len(data)} bytes")
    with malformed_as(id):
        return strict.json_object(data, what)


def write_object(document: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON, members in the order given."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")


def only_members(document: Mapping[str, Any], what: str, id: str, *, required: Collection[str],
                 optional: Collection[str] = ()) -> None:
    """``document`` must have every required member and none beyond the optional ones."""
    missing = [name for name in required if name not in document]
    unknown = [name for name in document if name not in required and name not in optional]
    if missing or unknown:
        raise MalformedImage(id, f"{what} has the wrong members", expected=", ".join(required),
                             got=shown(", ".join(document)))


def one_reading(document: Mapping[str, Any], what: str, id: str, known: Collection[str]) -> None:
    """No member may be taken for one of ``known`` by a decoder that ignores letter case."""
    folded = {name.casefold() for name in known}
    for name in document:
        if name not in known and name.casefold() in folded:
            raise MalformedImage(id, f"{what} has a member that only letter case tells apart", got=shown(name))


def text_member(document: Mapping[str, Any], name: str, what: str, id: str) -> str:
    """A member that must be there and be text."""
    value = document.get(name)
    if not isinstance(value, str):
        raise MalformedImage(id, f"{name} of {what} must be text", expected="text", got=type(value).__name__)
    return value


def base64_member(document: Mapping[str, Any], name: str, what: str, id: str, *, size: int | None = None) -> bytes:
    """A member that must be there and be standard padded base64 of ``size`` bytes (None: any number)."""
    with malformed_as(id):
        data = strict.base64_bytes(text_member(document, name, what, id), name)
    if size is not None and len(data) != size:
        raise MalformedImage(id, f"{name} of {what} has the wrong length", expected=f"{size} bytes",
                             got=f"{len(data)} bytes")
    return data


def shown(text: str) -> str:
    """Foreign text fit for a message: escaped and short."""
    return ascii(text) if len(text) <= 96 else ascii(text[:96]) + "…"
