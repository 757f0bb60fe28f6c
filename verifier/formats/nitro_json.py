"""Nitro evidence as JSON. Confidential Containers have no form for it; this one is ours.

    {"document": base64}

``document`` is the attestation document as the NSM device hands it out, standard base64.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.strict import base64_bytes

_MEMBERS = {"document"}


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object. Raises `MalformedEvidence`."""
    if set(value) != _MEMBERS:
        raise MalformedEvidence("evidence.json", "evidence has missing or unknown members", expected=[*_MEMBERS],
                                got=sorted(map(str, value))[:8])
    return Evidence(Tee.NITRO, base64_bytes(value["document"], "document"))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The object that `evidence_from_json` reads."""
    return {"document": b64encode(evidence.quote).decode()}
