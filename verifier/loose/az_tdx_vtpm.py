"""A folder with the evidence of an Azure confidential VM on Intel TDX: single parts, or one evidence JSON."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evidence import Evidence
from verifier.formats.az_json import AzureEvidence
from verifier.formats.az_tdx_json import PLATFORM, evidence_from_json, evidence_of
from verifier.formats.hcl_report import ReportType
from verifier.formats.strict import json_object
from verifier.loose import azure

TD_QUOTE = "td_quote.bin"

NAMES: tuple[str, ...] = (*azure.HCL_REPORTS, azure.MESSAGE, azure.SIGNATURE, azure.PCRS, TD_QUOTE,
                          *azure.AK_CERTIFICATES, *azure.EVIDENCE_JSON)


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The evidence, or None when the folder holds none of this kind. Raises `EvidenceError`."""
    report = azure.hcl_report(files, ReportType.TDX)
    if report is not None:
        told = AzureEvidence(report, azure.tpm_quote(files), files.get(TD_QUOTE))
        return evidence_of(told, azure.beside(files, *azure.AK_CERTIFICATES))
    told_json = azure.only(files, azure.EVIDENCE_JSON)
    if told_json is None or any(name in files for name in azure.HCL_REPORTS):
        return None
    value = json_object(told_json, "evidence")
    mine = "td_quote" in value or value.get("platform") == PLATFORM
    return evidence_from_json(value) if mine else None
