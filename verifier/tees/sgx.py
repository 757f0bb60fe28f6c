"""Intel SGX: quote version 3, and the SGX bodies of versions 4 and 5.

The maker's rules are `verifier.checks.dcap`; what is particular to an enclave is here.
Source: Intel "SGX DCAP ECDSA Quote Library API"; SDM volume 3D, ATTRIBUTES.
"""

from __future__ import annotations

from typing import Any

from verifier.checks import dcap, dcap_claims
from verifier.claims import Claims
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import Quote
from verifier.tees.base import Context

_CLAIMED = ("mr_enclave", "mr_signer", "isv_prod_id", "isv_svn", "attributes", "misc_select", "cpu_svn", "config_id",
            "config_svn", "isv_family_id", "isv_ext_prod_id", "report_data")
_RESERVED = ("reserved1", "reserved2", "reserved3", "reserved4")

# ATTRIBUTES.FLAGS bits
PROVISION_KEY = 1 << 4
EINIT_TOKEN_KEY = 1 << 5


class SgxRecipe:
    """The recipe for SGX quotes."""

    tee = Tee.SGX

    def parse(self, evidence: Evidence) -> Quote:
        """A quote; whether it is about an enclave is judged by `verify`."""
        return Quote.from_bytes(evidence.quote)

    def inspect(self, quote: Quote) -> dict[str, Any]:
        """The header's and the body's fields."""
        body = body_claims(quote.body) if isinstance(quote.body, EnclaveReport) else {}
        return {"quote_version": quote.header.version, "body_type": quote.body_type.name, **body}

    def verify(self, quote: Quote, context: Context) -> Claims:
        """Every rule of `verifier.checks.dcap`, then what the enclave is."""
        trail = context.trail
        trail.constant("quote.tee", expected=self.tee.value, got=quote.tee.value)
        body = quote.body
        assert isinstance(body, EnclaveReport)  # noqa: S101 - the rule above
        flags = _flags(body)
        try:
            result = dcap.verify_dcap(trail, quote, context.collateral, context.roots, context.at,
                                      context.prepared)
        except VerifierError as error:
            if error.standing:
                error.standing = error.standing._replace(flags=flags)
            raise
        return Claims(
            tee=self.tee, body=body_claims(body), endorsement=dcap_claims.endorsement_claims(result),
            software=result.chain.anchor.software, report_data=body.report_data, init_data=body.config_id,
            valid_until=result.window.not_after, status=result.platform.status.value,
            advisory_ids=result.platform.outcome.advisory_ids, flags=flags, tcb=dcap_claims.tcb_claims(result),
        )


def body_claims(body: EnclaveReport) -> dict[str, Any]:
    """The enclave report's fields by name."""
    return {name: getattr(body, name) for name in _CLAIMED}


def _flags(body: EnclaveReport) -> tuple[str, ...]:
    found = (
        ("SGX_DEBUG", body.debug),
        ("SGX_PROVISION_KEY", bool(body.flags & PROVISION_KEY)),
        ("SGX_EINIT_TOKEN_KEY", bool(body.flags & EINIT_TOKEN_KEY)),
        ("SGX_RESERVED_NONZERO", any(any(getattr(body, name)) for name in _RESERVED)),
    )
    return tuple(name for name, present in found if present)
