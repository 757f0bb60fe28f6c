"""Evidence of an Azure confidential VM on AMD SEV-SNP, as Confidential Containers put it into JSON.

    1, 2  see `verifier.formats.az_json`; the last member is ``vcek``, base64url of DER
    0     {"quote": {"signature", "message", "pcrs"}, "report": [ints], "vcek": PEM}
"""

from __future__ import annotations

import re
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
    malformed,
    quote_of_integers,
    to_members,
    to_text,
    url_text,
)
from verifier.formats.hcl_report import MAX_REPORT_BYTES
from verifier.formats.strict import base64_bytes

PLATFORM = "az-snp"
LAST = "vcek"
MAX_PEM_CHARACTERS = 32 * 1024

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*\Z", re.ASCII)


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object of any version; its quote is the canonical text. Raises `EvidenceError`."""
    proper, certificates = beside(value, PLATFORM)
    told = _version_0(proper) if "report" in proper else from_members(proper, LAST)
    return evidence_of(told, certificates)


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The JSON object of ``evidence``, version 1; `evidence_from_json` gives it back. Raises `EvidenceError`."""
    value = to_members(parts_of(evidence), LAST)
    if evidence.certificates:
        value["certificates"] = [url_text(certificate) for certificate in evidence.certificates]
    return value


def evidence_of(told: AzureEvidence, certificates: tuple[bytes, ...] = ()) -> Evidence:
    """``told``, and certificates that travelled beside it (ASK, ARK, the attestation key's)."""
    return Evidence(Tee.AZ_SNP_VTPM, to_text(told, LAST), certificates)


def parts_of(evidence: Evidence) -> AzureEvidence:
    """What `evidence_of` put together. Raises `EvidenceError`."""
    return from_text(evidence.quote, LAST)


def _version_0(members: Mapping[str, Any]) -> AzureEvidence:
    members = exactly(members, "evidence", ("quote", "report", "vcek"))
    return AzureEvidence(integers(members["report"], "report", MAX_REPORT_BYTES),
                         quote_of_integers(members["quote"]), _der(members["vcek"]))


def _der(value: object) -> bytes:
    """The one certificate in a PEM text."""
    if not isinstance(value, str) or len(value) > MAX_PEM_CHARACTERS:
        raise malformed("vcek", "must be a short PEM text", got=type(value).__name__)
    block = _PEM.match(value)
    if block is None:
        raise malformed("vcek", "must be one certificate in PEM")
    return base64_bytes("".join(block.group(1).split()), "vcek")
