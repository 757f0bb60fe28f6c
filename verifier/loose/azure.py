"""What the two kinds of Azure folders have in common: the HCL report, a quote of the virtual TPM, certificates.

``runtime_claims.json`` is left alone wherever it lies: the HCL report holds the claims, and a copy proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from verifier.errors import MalformedEvidence
from verifier.formats.az_json import VtpmQuote
from verifier.formats.hcl_report import HclReport, ReportType
from verifier.formats.strict import hex_bytes, json_value
from verifier.formats.tpm import PCR_COUNT

HCL_REPORTS = ("hcl_report.bin", "hcl-report.bin", "hclreport.bin", "hcl-report-snp.bin", "hcl-report-tdx.bin")
MESSAGE, SIGNATURE, PCRS = "tpm_quote.msg", "tpm_quote.sig", "pcrs_sha256.json"
AK_CERTIFICATES = ("ak_cert.der", "ak_cert.pem")
EVIDENCE_JSON = ("evidence-v0.json", "evidence-v1.json", "evidence-v2.json", "evidence-genoa.json",
                 "milan-v3-attestation.json", "live-evidence.json", "attestation.json")


def hcl_report(files: Mapping[str, bytes], kind: ReportType) -> bytes | None:
    """The report if it is of ``kind``, None if there is none or it is of the other. Raises `EvidenceError`."""
    found = only(files, HCL_REPORTS)
    return found if found is not None and HclReport.from_bytes(found).report_type is kind else None


def tpm_quote(files: Mapping[str, bytes]) -> VtpmQuote | None:
    """The quote, or None without one; half of one raises `MalformedEvidence`."""
    message, signature = files.get(MESSAGE), files.get(SIGNATURE)
    if message is None and signature is None:
        return None
    if message is None or signature is None:
        raise MalformedEvidence("folder.tpm_quote", "a quote is a message and a signature",
                                expected=[MESSAGE, SIGNATURE], got=sorted({MESSAGE, SIGNATURE} & set(files)))
    return VtpmQuote(message, signature, _pcrs(files[PCRS]) if PCRS in files else ())


def only(files: Mapping[str, bytes], names: tuple[str, ...]) -> bytes | None:
    """The contents of the one file of these names; copies of it under several are one. Raises `MalformedEvidence`."""
    found = {files[name]: name for name in names if name in files}
    if len(found) > 1:
        raise MalformedEvidence("folder.ambiguous", "files that should be the same differ", got=sorted(found.values()))
    return next(iter(found), None)


def beside(files: Mapping[str, bytes], *names: str) -> tuple[bytes, ...]:
    """The contents of those of ``names`` that are there."""
    return tuple(files[name] for name in names if name in files)


def _pcrs(data: bytes) -> tuple[bytes, ...]:
    """A JSON list of the 24 values of the SHA-256 bank, hexadecimal."""
    values = json_value(data, PCRS)
    if not isinstance(values, list) or len(values) != PCR_COUNT:
        raise MalformedEvidence("folder.pcrs", "must be a list of all PCRs", expected=PCR_COUNT,
                                got=len(values) if isinstance(values, list) else type(values).__name__)
    return tuple(hex_bytes(value, PCRS, 32) for value in values)
