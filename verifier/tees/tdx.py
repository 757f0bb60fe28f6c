"""Intel TDX: quote version 4 and 5, TD report 1.0, 1.5 and 1.5 extended; the guest's event log where it sent one.

The maker's rules are `verifier.checks.dcap`; what is particular to a TD (attributes, service TD) is
`verifier.checks.td_claims`; a log must explain RTMR0 to RTMR3 (`verifier.checks.event_log`). Source: Intel "TDX DCAP
Quote Generation and Verification".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from verifier.checks import dcap, dcap_claims
from verifier.checks.event_log import check_ccel
from verifier.checks.td_claims import body_claims
from verifier.checks.td_claims import flags as _flags
from verifier.claims import Claims
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import Quote
from verifier.formats.td_report import TdReport
from verifier.tees.base import Context


@dataclass(frozen=True, slots=True)
class TdEvidence:
    """A quote, and the event log beside it as bytes that nothing vouches for; None where there is none."""

    quote: Quote
    event_log: bytes | None


class TdxRecipe:
    """The recipe for TDX quotes."""

    tee = Tee.TDX

    def parse(self, evidence: Evidence) -> TdEvidence:
        """A quote; whether it is about a TD, and what its log says, is judged by `verify`."""
        return TdEvidence(Quote.from_bytes(evidence.quote), evidence.event_log)

    def inspect(self, evidence: TdEvidence) -> dict[str, Any]:
        """The header's and the body's fields."""
        quote = evidence.quote
        body = body_claims(quote.body) if isinstance(quote.body, TdReport) else asdict(quote.body)
        return {"quote_version": quote.header.version, "body_type": quote.body_type.name, **body}

    def verify(self, evidence: TdEvidence, context: Context) -> Claims:
        """Every rule of `verifier.checks.dcap`, then what the TD is, then what its log proves."""
        trail, quote = context.trail, evidence.quote
        trail.constant("quote.tee", expected=self.tee.value, got=quote.tee.value)
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
        facts: dict[str, Any] = {}
        if evidence.event_log is not None:
            try:
                facts["event_log"] = check_ccel(trail, evidence.event_log, _rtmrs(body)).claims()
            except VerifierError as error:
                raise error.at_standing(result.platform.status.value, result.platform.outcome.advisory_ids,
                                        flags) from None
        return Claims(
            tee=self.tee, body=body_claims(body) | facts, endorsement=dcap_claims.endorsement_claims(result),
            software=result.chain.anchor.software, report_data=body.report_data, init_data=body.mr_config_id,
            valid_until=result.window.not_after, status=result.platform.status.value,
            advisory_ids=result.platform.outcome.advisory_ids, flags=flags,
            tcb=dcap_claims.tcb_claims(result),
        )


def _rtmrs(body: TdReport) -> dict[int, bytes]:
    return {number: getattr(body, f"rtmr{number}") for number in range(4)}
