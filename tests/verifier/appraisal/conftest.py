"""Claims of every TEE, as the recipes make them, and an appraiser for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from verifier.appraisal.appraiser import Appraiser
from verifier.claims import Claims
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.policy.rego import RegoEngine
from verifier.reference_values.model import ReferenceValues
from verifier.verify import verify

NOW = 1_780_000_010


def _sample() -> Claims:
    evidence = Evidence(Tee.SAMPLE, b'{"svn":"1","report_data":"AAAA"}')
    verdict = verify(evidence, collateral=Collateral.none(), roots=Roots.makers().with_insecure_sample(), at=NOW,
                     binding=Binding.insecure_unbound())
    assert verdict.claims, verdict.error
    return verdict.claims


@pytest.fixture(scope="session")
def engine() -> RegoEngine:
    return RegoEngine()


@pytest.fixture
def claims_of(intel_case, snp_case):
    """``claims_of("tdx-v5-td15")``: what small makers' evidence proves, unless ``software`` as if hardware's.

    More arguments replace members of the claims.
    """
    def make(kind: str = "tdx-v4", *, software: bool = False, **members: Any) -> Claims:
        if kind == "sample":
            claims = _sample()
        elif kind.startswith("snp"):
            claims = snp_case(line=kind.partition("-")[2] or "Milan",
                              version=5 if kind.endswith("Turin") else 3).verify()
        else:
            claims = intel_case(kind).verdict().claims
        assert claims is not None
        return replace(claims, software=software, **members)
    return make


@pytest.fixture(scope="session")
def matching():
    """Reference values that the claims match in every respect."""
    def make(claims: Claims, **more: Any) -> ReferenceValues:
        body = {name: value.hex() for name, value in claims.body.items() if isinstance(value, bytes)}
        tcb = claims.body.get("reported_tcb_decoded", {})
        known = {
            "mr_td": body.get("mr_td"), "rtmr_1": body.get("rtmr1"), "rtmr_2": body.get("rtmr2"),
            "xfam": body.get("xfam"),
            "sgx_mr_enclave": body.get("mr_enclave"), "snp_launch_measurement": body.get("measurement"),
            "allowed_tcb_status": claims.status, "snp_min_bootloader": tcb.get("bootloader"),
            "snp_min_fmc": tcb.get("fmc"),
            "snp_min_tee_svn": tcb.get("tee"), "snp_min_snp_svn": tcb.get("snp"),
            "snp_min_microcode": tcb.get("microcode"),
        }
        return ReferenceValues.of({name: value for name, value in {**known, **more}.items() if value is not None})
    return make


@pytest.fixture
def appraise(engine):
    """``appraise(claims, values)``: the result for one part."""
    def make(claims: Claims, values: ReferenceValues, policies: dict[str, str] | None = None, *, at: int = NOW,
             name: str = "cpu0", **more: Any) -> Any:
        given = {"runtime_data": {"nonce": "nonce"}, "init_data_claims": None, **more}
        return Appraiser(engine, policies, values).appraise([(name, claims)], at=at, **given)
    return make
