"""From what a provider sends to reference values.

No extractor here verifies a signature: who may register values is the broker's question. CoRIM and SWID, which can be
signed, have no extractor yet and are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable

from verifier.errors import MalformedEvidence
from verifier.formats.strict import json_object
from verifier.reference_values.model import (
    MAX_VALUE_BYTES,
    ReferenceValue,
    ReferenceValueError,
    UnsupportedReferenceValues,
)

Extractor = Callable[[bytes, int | None], tuple[ReferenceValue, ...]]

SUPPORTED_LATER = ("corim", "swid")


def extract(kind: str, payload: bytes, *, expires: int | None = None) -> tuple[ReferenceValue, ...]:
    """The reference values in ``payload``, each good until ``expires`` (Unix seconds; None for ever).

    kind: ``sample``, as Trustee's tools send it, or ``plain``: both are a JSON object of names and values. Raises
    `UnsupportedReferenceValues` for any other kind, `ReferenceValueError` for what cannot be read.
    """
    extractor = EXTRACTORS.get(kind)
    if extractor is None:
        later = " yet" if kind in SUPPORTED_LATER else ""
        raise UnsupportedReferenceValues("reference_value.type", f"there is no extractor for this type{later}",
                                         expected=sorted(EXTRACTORS), got=kind[:40])
    if len(payload) > MAX_VALUE_BYTES:
        raise ReferenceValueError("reference_value.size", "the payload is too large",
                                  expected=f"<= {MAX_VALUE_BYTES} bytes", got=f"{len(payload)} bytes")
    return extractor(payload, expires)


def plain(payload: bytes, expires: int | None) -> tuple[ReferenceValue, ...]:
    """A JSON object: each member's name with its value."""
    try:
        members = json_object(payload, "reference values")
    except MalformedEvidence as error:
        raise ReferenceValueError("reference_value.payload", error.detail) from None
    return tuple(ReferenceValue(name, value, expires) for name, value in members.items())


EXTRACTORS: dict[str, Extractor] = {"sample": plain, "plain": plain}
