"""Intel TDX: quote version 4 and 5, TD report 1.0, 1.5 and 1.5 extended.

The maker's rules are `verifier.checks.dcap`; what is particular to a TD (attributes, service TD) is here.
Source: Intel "TDX DCAP Quote Generation and Verification"; "TDX Module Base Architecture Specification", TDATTRIBUTES.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from verifier.checks import dcap
from verifier.claims import Claims
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import Quote
from verifier.formats.td_report import BASE_FIELDS, TdReport
from verifier.tees.base import Context

DEBUG = 1 << 0
# The whole first byte marks a TD that must not be trusted; only its DEBUG bit can be allowed by name.
UNTRUSTED = 0xFF
SEPT_VE_DISABLE = 1 << 28
MIGRATABLE = 1 << 29
# ICSSD, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL; TPA, PERFMON.
_KNOWN = UNTRUSTED | 1 << 16 | 1 << 27 | SEPT_VE_DISABLE | MIGRATABLE | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63


class TdxRecipe:
    """The recipe for TDX quotes."""

    tee = Tee.TDX

    def parse(self, evidence: Evidence) -> Quote:
        """A quote; whether it is about a TD is judged by `verify`."""
        return Quote.from_bytes(evidence.quote)

    def inspect(self, quote: Quote) -> dict[str, Any]:
        """The header's and the body's fields."""
        body = body_claims(quote.body) if isinstance(quote.body, TdReport) else asdict(quote.body)
        return {"quote_version": quote.header.version, "body_type": quote.body_type.name, **body}

    def verify(self, quote: Quote, context: Context) -> Claims:
        """Every rule of `verifier.checks.dcap`, then what the TD is."""
        trail = context.trail
        trail.equal("quote.tee", expected=self.tee.value, got=quote.tee.value)
        body = quote.body
        assert isinstance(body, TdReport)  # noqa: S101 - the rule above
        flags = _flags(body)
        try:
            result = dcap.verify_dcap(trail, quote, context.collateral, context.roots, context.at,
                                      context.prepared)
        except VerifierError as error:
            if error.standing:
                error.standing = error.standing._replace(flags=flags)
            raise
        return Claims(
            tee=self.tee, body=body_claims(body), endorsement=dcap.endorsement_claims(result),
            software=result.chain.anchor.software, report_data=body.report_data, init_data=body.mr_config_id,
            valid_until=result.window.not_after, status=result.platform.status.value,
            advisory_ids=result.platform.outcome.advisory_ids, flags=flags,
            tcb=dcap.tcb_claims(result),
        )


def body_claims(body: TdReport) -> dict[str, Any]:
    """The TD report's fields by name; those of TD 1.5 only where the report has them."""
    claims = {name: getattr(body, name) for name in BASE_FIELDS}
    for part in (body.v15, body.extended):
        if part is not None:
            claims.update(asdict(part))
    return claims


def _flags(body: TdReport) -> tuple[str, ...]:
    bits = body.attribute_bits
    service_td = body.v15 is not None and any(body.v15.mr_service_td)
    found = (
        ("TD_DEBUG", bool(bits & DEBUG)),
        ("TD_UNTRUSTED", bool(bits & UNTRUSTED & ~DEBUG)),
        ("SEPT_VE_DISABLE_NOT_SET", not bits & SEPT_VE_DISABLE),
        ("MIGRATABLE", bool(bits & MIGRATABLE)),
        ("MRSERVICETD_NONZERO", service_td),
        ("TD_ATTRIBUTES_UNKNOWN", bool(bits & ~_KNOWN)),
    )
    return tuple(name for name, present in found if present)
