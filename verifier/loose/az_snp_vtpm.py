"""A folder with the evidence of an Azure confidential VM on AMD SEV-SNP: single parts, or one evidence JSON."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evidence import Evidence
from verifier.formats.az_json import AzureEvidence
from verifier.formats.az_snp_json import PLATFORM, evidence_from_json, evidence_of
from verifier.formats.hcl_report import ReportType
from verifier.formats.strict import json_object
from verifier.loose import azure

VCEK, CHAIN = "vcek.der", "cert_chain.pem"

NAMES: tuple[str, ...] = (*azure.HCL_REPORTS, azure.MESSAGE, azure.SIGNATURE, azure.PCRS, VCEK, CHAIN,
                          *azure.AK_CERTIFICATES, *azure.EVIDENCE_JSON)


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The evidence, or None when the folder holds none of this kind. Raises `EvidenceError`."""
    report = azure.hcl_report(files, ReportType.SNP)
    if report is not None:
        told = AzureEvidence(report, azure.tpm_quote(files), files.get(VCEK))
        return evidence_of(told, azure.beside(files, CHAIN, *azure.AK_CERTIFICATES))
    told_json = azure.only(files, azure.EVIDENCE_JSON)
    if told_json is None or any(name in files for name in azure.HCL_REPORTS):
        return None
    value = json_object(told_json, "evidence")
    mine = "vcek" in value or value.get("platform") == PLATFORM
    return evidence_from_json(value) if mine else None
