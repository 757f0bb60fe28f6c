"""CCA evidence as Confidential Containers put it into JSON.

    {"token": [ints]}

``token`` is the CBOR token, one number for each byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.cca_token import MAX_SIZE

_MEMBERS = {"token"}


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object. Raises `MalformedEvidence`."""
    if set(value) != _MEMBERS:
        raise _malformed("evidence has missing or unknown members", expected=[*_MEMBERS],
                         got=sorted(map(str, value))[:8])
    token = value["token"]
    if not isinstance(token, list) or len(token) > MAX_SIZE:
        raise _malformed("token must be an array of integers", expected=f"<= {MAX_SIZE}", got=type(token).__name__)
    if not all(type(octet) is int and 0 <= octet < 256 for octet in token):
        raise _malformed("token must be an array of integers", expected="0..255")
    return Evidence(Tee.CCA, bytes(token))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The object that `evidence_from_json` reads."""
    return {"token": list(evidence.quote)}


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("evidence.json", detail, expected=expected, got=got)
