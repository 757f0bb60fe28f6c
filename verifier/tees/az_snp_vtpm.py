"""Azure confidential VMs on AMD SEV-SNP: an HCL report whose SNP report vouches for a virtual TPM, and its quote.

    1  HCL header; report data is the hash of the runtime claims           checks.hcl
    2  the SNP report by every rule of AMD's, at VMPL 0                    checks.snp, hcl.vmpl
    3  the attestation key in those claims; the quote; its certificate     checks.hcl

The paravisor runs at VMPL 0 and the guest below it, so a report of any other level would be the guest's own word about
itself. `Claims.report_data` is the quote's extra data, `Claims.init_data` PCR 8. The SNP report's fields are claims by
their own names and once more under ``snp``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifier.checks import hcl, snp, snp_claims
from verifier.checks.hcl_claims import attest_of, quote_claims, runtime_claims
from verifier.claims import Claims
from verifier.errors import UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.az_json import PCR_BANK, VtpmQuote
from verifier.formats.az_snp_json import parts_of
from verifier.formats.hcl_report import HclReport, ReportType
from verifier.formats.runtime_claims import RuntimeClaims
from verifier.formats.snp_report import ProductLine, SnpReport, product_line
from verifier.formats.tpm_attest import TpmAttest
from verifier.tees.base import Context


@dataclass(frozen=True, slots=True)
class AzSnpQuote:
    """All that came, nothing believed. attest: the quote's message. certificates: the VCEK first, where one
    came."""

    hcl: HclReport
    report: SnpReport
    claims: RuntimeClaims
    tpm_quote: VtpmQuote | None
    attest: TpmAttest | None
    certificates: tuple[bytes, ...]


class AzSnpVtpmRecipe:
    """The recipe for Azure's SNP VMs."""

    tee = Tee.AZ_SNP_VTPM

    def parse(self, evidence: Evidence) -> AzSnpQuote:
        """The shape of every part."""
        parts = parts_of(evidence)
        report = HclReport.from_bytes(parts.hcl_report)
        if report.report_type is not ReportType.SNP:
            raise UnsupportedEvidence("hcl_report.report_type", "not the report of an SNP VM", expected="SNP",
                                      got=report.report_type.name)
        vcek = () if parts.endorsement is None else (parts.endorsement,)
        return AzSnpQuote(report, SnpReport.from_bytes(report.hardware_report), RuntimeClaims.from_bytes(report.claims),
                          parts.tpm_quote, attest_of(parts.tpm_quote), (*vcek, *evidence.certificates))

    def inspect(self, quote: AzSnpQuote) -> dict[str, Any]:
        """The fields of all parts. Version 2 does not name its processor: its TCBs are decoded as Milan's."""
        cpuid = quote.report.cpuid
        told = _body(quote, product_line(cpuid) if cpuid else ProductLine.MILAN)
        if quote.tpm_quote is not None and quote.attest is not None:
            told |= quote_claims(quote.attest, len(quote.tpm_quote.message), dict(enumerate(quote.tpm_quote.pcrs)))
        return told

    def verify(self, quote: AzSnpQuote, context: Context) -> Claims:
        """Steps 1 to 3."""
        trail, report, collateral = context.trail, quote.report, context.collateral
        hcl.check_header(trail, quote.hcl)
        hcl.check_claims_hash(trail, quote.hcl, report.report_data)
        endorsed = snp.endorse(trail, report, quote.certificates, collateral.amd, context.roots, context.at,
                               context.prepared)
        snp.check_signature(trail, report, endorsed.key)
        snp.check_report(trail, report, endorsed.key.line)
        trail.equal("hcl.vmpl", expected=0, got=report.vmpl, detail="the paravisor must have asked for the report")
        vtpm = hcl.verify_vtpm(trail, quote.claims, quote.tpm_quote, quote.certificates, collateral.tpm, context.roots,
                               context.at, context.prepared)
        body = _body(quote, endorsed.key.line)
        if vtpm.quoted is not None and quote.tpm_quote is not None:
            body |= quote_claims(vtpm.quoted.attest, len(quote.tpm_quote.message), vtpm.quoted.pcrs[PCR_BANK])
        endorsement = dict(endorsed.claims) | hcl.endorsement_claims(vtpm)
        return Claims(
            tee=self.tee, body=body, endorsement=endorsement, software=endorsed.chain.anchor.software,
            report_data=vtpm.extra_data, init_data=vtpm.init_data,
            valid_until=endorsed.window.meet(vtpm.window).not_after, flags=snp_claims.flags(report) + vtpm.flags,
        )


def _body(quote: AzSnpQuote, line: ProductLine | None) -> dict[str, Any]:
    inner = snp_claims.body_claims(quote.report, line)
    return inner | runtime_claims(quote.claims, quote.report.report_data) | {"snp": inner}
