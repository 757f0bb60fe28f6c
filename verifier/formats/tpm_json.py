"""TPM evidence as Confidential Containers put it into JSON, with members of ours for what they leave out.

    {"ak_public": base64(SPKI DER), "tpm_quote": {"message": base64, "signature": base64, "pcrs": [24 hex]}}

The rest is told in `verifier.formats.tpm_evidence`, and: ``ak_certificates`` (base64 of DER, the key's certificate and
intermediates), ``event_log`` (base64).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evidence import Evidence, Tee
from verifier.formats.strict import base64_bytes
from verifier.formats.tpm_evidence import TpmEvidence, malformed, text

MAX_CERTIFICATES = 16

_BESIDE = ("ak_certificates", "event_log")


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object; its quote is the canonical text. Raises `EvidenceError`."""
    certificates, log = value.get("ak_certificates", []), value.get("event_log")
    if not isinstance(certificates, list) or len(certificates) > MAX_CERTIFICATES:
        raise malformed("ak_certificates", "must be a short list", expected=f"<= {MAX_CERTIFICATES}",
                        got=type(certificates).__name__)
    told = TpmEvidence.from_members({name: member for name, member in value.items() if name not in _BESIDE})
    return evidence_of(told, tuple(base64_bytes(item, "ak_certificates") for item in certificates),
                       None if log is None else base64_bytes(log, "event_log"))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The JSON object of ``evidence``; `evidence_from_json` gives it back. Raises `EvidenceError`."""
    value = TpmEvidence.from_bytes(evidence.quote).to_members()
    if evidence.certificates:
        value["ak_certificates"] = [text(certificate) for certificate in evidence.certificates]
    if evidence.event_log is not None:
        value["event_log"] = text(evidence.event_log)
    return value


def evidence_of(told: TpmEvidence, certificates: tuple[bytes, ...] = (), event_log: bytes | None = None) -> Evidence:
    """``told`` and what travelled beside it."""
    return Evidence(Tee.TPM, told.to_bytes(), certificates, event_log)
