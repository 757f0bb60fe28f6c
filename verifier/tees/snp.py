"""AMD SEV-SNP: attestation reports of version 2 to 5, signed by a VCEK or a VLEK, on Milan, Genoa and Turin.

The maker's rules are `verifier.checks.snp`, the claims `verifier.checks.snp_claims`. AMD publishes no TCB status:
whether a TCB is new enough is for the caller's expectations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from verifier.checks import snp
from verifier.checks.snp_claims import body_claims, flags
from verifier.claims import Claims
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_report import ProductLine, SnpReport, product_line
from verifier.tees.base import Context


class SnpQuote(NamedTuple):
    """A report and the certificates that came with it, nothing believed."""

    report: SnpReport
    certificates: tuple[bytes, ...]


class SnpRecipe:
    """The recipe for SEV-SNP attestation reports."""

    tee = Tee.SNP

    def parse(self, evidence: Evidence) -> SnpQuote:
        """Exactly one report; certificates are read by `verify`."""
        return SnpQuote(SnpReport.from_bytes(evidence.quote), evidence.certificates)

    def inspect(self, quote: SnpQuote) -> dict[str, Any]:
        """The report's fields. Version 2 does not name its processor: its TCBs are decoded as Milan's and Genoa's."""
        cpuid = quote.report.cpuid
        return body_claims(quote.report, product_line(cpuid) if cpuid else ProductLine.MILAN)

    def verify(self, quote: SnpQuote, context: Context) -> Claims:
        """Every rule of `verifier.checks.snp`, in its order."""
        trail, report = context.trail, quote.report
        endorsed = snp.endorse(trail, report, quote.certificates, context.collateral.amd, context.roots, context.at,
                               context.prepared)
        snp.check_signature(trail, report, endorsed.key)
        snp.check_report(trail, report, endorsed.key.line)
        return Claims(
            tee=self.tee, body=body_claims(report, endorsed.key.line), endorsement=endorsed.claims,
            software=endorsed.chain.anchor.software, report_data=report.report_data, init_data=report.host_data,
            valid_until=endorsed.window.not_after, flags=flags(report),
        )
