"""Azure confidential VMs on Intel TDX: an HCL report whose TDREPORT vouches for a virtual TPM, a TD quote, a TPM quote.

    1  HCL header; report data is the hash of the runtime claims           checks.hcl
    2  the TDREPORT is consistent, the TD quote repeats it                 checks.tdreport
    3  the TD quote by every rule of Intel's                               checks.dcap
    4  the attestation key in those claims; the quote; its certificate     checks.hcl

A TDREPORT alone proves nothing away from its processor: without a TD quote nothing is decided. `Claims.report_data` is
the TPM quote's extra data, `Claims.init_data` PCR 8. The TD report's fields are claims by their own names and once more
under ``tdx``; Azure's guests extend no RTMR, what runs in them is in the PCRs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifier.checks import dcap, dcap_claims, hcl, td_claims, tdreport
from verifier.checks.dcap import Dcap
from verifier.checks.hcl_claims import attest_of, quote_claims, runtime_claims
from verifier.claims import Claims
from verifier.errors import MissingCollateral, UnsupportedEvidence, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.az_json import PCR_BANK, VtpmQuote
from verifier.formats.az_tdx_json import parts_of
from verifier.formats.hcl_report import HclReport, ReportType, hardware_report_of
from verifier.formats.quote import Quote
from verifier.formats.runtime_claims import RuntimeClaims
from verifier.formats.td_report import TdReport
from verifier.formats.tdreport import TdreportStruct
from verifier.formats.tpm_attest import TpmAttest
from verifier.tees.base import Context


@dataclass(frozen=True, slots=True)
class AzTdxQuote:
    """All that came, nothing believed. td_quote: None where nobody asked the platform for one. attest: the message of
    the TPM quote."""

    hcl: HclReport
    report: TdreportStruct
    claims: RuntimeClaims
    td_quote: Quote | None
    tpm_quote: VtpmQuote | None
    attest: TpmAttest | None
    certificates: tuple[bytes, ...]


class AzTdxVtpmRecipe:
    """The recipe for Azure's TDX VMs."""

    tee = Tee.AZ_TDX_VTPM

    def parse(self, evidence: Evidence) -> AzTdxQuote:
        """The shape of every part."""
        parts = parts_of(evidence)
        report = HclReport.from_bytes(parts.hcl_report)
        if report.report_type is not ReportType.TDX:
            raise UnsupportedEvidence("hcl_report.report_type", "not the report of a TDX VM", expected="TDX",
                                      got=report.report_type.name)
        hardware = TdreportStruct.from_bytes(hardware_report_of(report.hardware_report, ReportType.TDX))
        return AzTdxQuote(report, hardware, RuntimeClaims.from_bytes(report.claims),
                          None if parts.endorsement is None else Quote.from_bytes(parts.endorsement), parts.tpm_quote,
                          attest_of(parts.tpm_quote), evidence.certificates)

    def inspect(self, quote: AzTdxQuote) -> dict[str, Any]:
        """The fields of all parts; those of the TD only where a TD quote tells them."""
        body = None if quote.td_quote is None else quote.td_quote.body
        told = _body(quote, body if isinstance(body, TdReport) else None)
        if quote.tpm_quote is not None and quote.attest is not None:
            told |= quote_claims(quote.attest, len(quote.tpm_quote.message), dict(enumerate(quote.tpm_quote.pcrs)))
        return told

    def verify(self, quote: AzTdxQuote, context: Context) -> Claims:
        """Steps 1 to 4."""
        trail = context.trail
        hcl.check_header(trail, quote.hcl)
        hcl.check_claims_hash(trail, quote.hcl, quote.report.report_data)
        tdreport.check_consistent(trail, quote.report)
        body, result = _verify_td(quote, context)
        vtpm = hcl.verify_vtpm(trail, quote.claims, quote.tpm_quote, quote.certificates, context.collateral.tpm,
                               context.roots, context.at, context.prepared)
        told = _body(quote, body)
        if vtpm.quoted is not None and quote.tpm_quote is not None:
            told |= quote_claims(vtpm.quoted.attest, len(quote.tpm_quote.message), vtpm.quoted.pcrs[PCR_BANK])
        return Claims(
            tee=self.tee, body=told, endorsement=dcap_claims.endorsement_claims(result) | hcl.endorsement_claims(vtpm),
            software=result.chain.anchor.software, report_data=vtpm.extra_data, init_data=vtpm.init_data,
            valid_until=result.window.meet(vtpm.window).not_after, status=result.platform.status.value,
            advisory_ids=result.platform.outcome.advisory_ids, flags=td_claims.flags(body) + vtpm.flags,
            tcb=dcap_claims.tcb_claims(result),
        )


def _verify_td(quote: AzTdxQuote, context: Context) -> tuple[TdReport, Dcap]:
    """Steps 2 (its second half) and 3. A quote of another TD is refused before anybody's collateral is asked for."""
    trail, td_quote = context.trail, quote.td_quote
    if td_quote is None:
        raise MissingCollateral("collateral.td_quote",
                                "a TDREPORT is proved by a TD quote made from it only, and none came")
    trail.equal("td_quote.tee", expected=Tee.TDX.value, got=td_quote.tee.value)
    body = td_quote.body
    assert isinstance(body, TdReport)  # noqa: S101 - the rule above
    tdreport.check_quoted(trail, quote.report, body)
    try:
        return body, dcap.verify_dcap(trail, td_quote, context.collateral, context.roots, context.at, context.prepared)
    except VerifierError as error:
        if error.standing:
            error.standing = error.standing._replace(flags=td_claims.flags(body))
        raise


def _body(quote: AzTdxQuote, body: TdReport | None) -> dict[str, Any]:
    inner = {} if body is None else td_claims.body_claims(body)
    return inner | runtime_claims(quote.claims, quote.report.report_data) | ({"tdx": inner} if inner else {})
