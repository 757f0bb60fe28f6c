"""Evidence of an Azure confidential VM on Intel TDX, as Confidential Containers put it into JSON.

    1, 2  see `verifier.formats.az_json`; the last member is ``td_quote``, base64url
    0     {"tpm_quote": {"signature", "message", "pcrs"}, "hcl_report": [ints], "td_quote": [ints]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evidence import Evidence, Tee
from verifier.formats.az_json import (
    AzureEvidence,
    beside,
    exactly,
    from_members,
    from_text,
    integers,
    quote_of_integers,
    to_members,
    to_text,
    url_text,
)
from verifier.formats.hcl_report import MAX_REPORT_BYTES
from verifier.formats.quote import MAX_QUOTE_BYTES

PLATFORM = "az-tdx"
LAST = "td_quote"


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object of any version; its quote is the canonical text. Raises `EvidenceError`."""
    proper, certificates = beside(value, PLATFORM)
    told = from_members(proper, LAST) if "version" in proper else _version_0(proper)
    return evidence_of(told, certificates)


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The JSON object of ``evidence``, version 1; `evidence_from_json` gives it back. Raises `EvidenceError`."""
    value = to_members(parts_of(evidence), LAST)
    if evidence.certificates:
        value["certificates"] = [url_text(certificate) for certificate in evidence.certificates]
    return value


def evidence_of(told: AzureEvidence, certificates: tuple[bytes, ...] = ()) -> Evidence:
    """``told``, and certificates that travelled beside it (the attestation key's)."""
    return Evidence(Tee.AZ_TDX_VTPM, to_text(told, LAST), certificates)


def parts_of(evidence: Evidence) -> AzureEvidence:
    """What `evidence_of` put together. Raises `EvidenceError`."""
    return from_text(evidence.quote, LAST)


def _version_0(members: Mapping[str, Any]) -> AzureEvidence:
    members = exactly(members, "evidence", ("tpm_quote", "hcl_report", "td_quote"))
    return AzureEvidence(integers(members["hcl_report"], "hcl_report", MAX_REPORT_BYTES),
                         quote_of_integers(members["tpm_quote"]),
                         integers(members["td_quote"], "td_quote", MAX_QUOTE_BYTES))
