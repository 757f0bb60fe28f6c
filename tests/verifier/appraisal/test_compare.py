"""Appraisal through the whole verifier: what is proved, flagged, demanded and told, for TDX and SGX."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from verifier import Expectations
from verifier.appraisal.expectations import Masked

TDX = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_seam", "mr_signer_seam", "mr_config_id", "mr_owner",
       "mr_owner_config", "mr_service_td", "td_attributes", "xfam", "minimum_tee_tcb_svn", "minimum_tee_tcb_svn2")
SGX = ("mr_enclave", "mr_signer", "config_id", "isv_family_id", "isv_ext_prod_id", "isv_prod_id", "minimum_isv_svn",
       "minimum_config_svn", "attributes")
MACHINE = ("ppid", "platform_instance_id", "fmspc", "minimum_evaluation_number", "minimum_qe_evaluation_number",
           "report_data")


def demands(case, names):
    """For each name: a value that its evidence meets, and one that it does not."""
    named = case.verdict().claims.named()
    for name in names:
        meta = next(f.metadata for f in fields(Expectations) if f.name == name)
        got = named
        for step in (meta.get("claim") or name).split("."):
            got = got[step]
        match meta["kind"]:
            case "one_of":
                yield name, (got,), (bytes((got[0] ^ 1,)) + got[1:],)
            case "masked":
                full = b"\xff" * len(got)
                yield name, Masked(got, full), Masked(bytes((got[0] ^ 0x80,)) + got[1:], full)
            case "minimum" if isinstance(got, bytes):
                yield name, got, got[:-1] + bytes((got[-1] + 1,))
            case "minimum":
                yield name, got, got + 1
            case "integers":
                yield name, (got,), (got + 1,)


@pytest.mark.parametrize(("kind", "names"), [
    ("tdx-v4", [n for n in TDX if not n.endswith("svn2") and n != "mr_service_td"]), ("tdx-v5-td15", TDX),
    ("tdx-v5-td15ex", TDX), ("sgx-v3", SGX), ("sgx-v4", SGX), ("tdx-v4", MACHINE), ("sgx-v3", MACHINE),
])
def test_each_demand_is_met_by_its_own_evidence_and_by_no_other(intel_case, kind, names):
    case = intel_case(kind)
    for name, good, bad in demands(case, names):
        accepted = replace(case, expectations=Expectations(**{name: good})).verdict()
        refused = replace(case, expectations=Expectations(**{name: bad})).verdict()
        assert (accepted.authentic, accepted.accepted) == (True, True), name
        assert (refused.authentic, refused.accepted, refused.error) == (True, False, None), name
        assert [check.id for check in refused.mismatches] == [f"{case.tee}.expect.{name}"]


@pytest.mark.parametrize(("kind", "names"), [
    ("tdx-v4", ["mr_service_td", "minimum_tee_tcb_svn2", *SGX]), ("sgx-v3", TDX),
])
def test_a_demand_on_anothers_claim_is_never_met(intel_case, kind, names):
    """TD 1.0 has no service TD; an enclave no MRTD; and nothing that is absent counts as zero."""
    for name in names:
        meta = next(f.metadata for f in fields(Expectations) if f.name == name)
        size = meta.get("size", 16)
        value = {"one_of": (bytes(size),), "masked": Masked(bytes(size), bytes(size)), "integers": (0,)}.get(
            meta["kind"], bytes(16) if name.startswith("minimum_tee") else 0)
        verdict = replace(intel_case(kind), expectations=Expectations(**{name: value})).verdict()
        assert (verdict.authentic, verdict.accepted) == (True, False), name
        assert verdict.mismatches[0].id.endswith(f".expect.{name}")


def test_all_mismatches_are_told_at_once(intel_case):
    case = intel_case("tdx-v5-td15").says(td_attributes=b"\x01" + bytes(7), report_data=b"\x01" * 64)
    verdict = replace(case, expectations=Expectations(
        mr_td=(bytes(48),), rtmr0=(), accepted_statuses=("OutOfDate",), refuse_software=True,
        minimum_evaluation_number=19)).verdict()
    assert [check.id for check in verdict.mismatches] == [
        "tdx.accept.status", "tdx.accept.td_debug", "tdx.accept.sept_ve_disable_not_set", "tdx.accept.hardware",
        "tdx.expect.mr_td", "tdx.expect.rtmr0", "tdx.expect.minimum_evaluation_number"]
    assert (verdict.authentic, verdict.accepted, verdict.exit_code) == (True, False, 1)


def test_software_evidence_is_marked_and_refused_where_hardware_is_demanded(intel_case):
    verdict = replace(intel_case(), expectations=Expectations(refuse_software=True)).verdict()
    assert (verdict.authentic, verdict.accepted) == (True, False)
    assert [check.id for check in verdict.mismatches] == ["tdx.accept.hardware"]
    assert verdict.claims.named()["software"] is True


@pytest.mark.parametrize("kind", ["tdx-v4", "sgx-v3"])
def test_a_revoked_platform_is_authentic_and_never_accepted(intel_case, kind):
    everything = Expectations(accepted_statuses=(
        "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
        "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"))
    case = intel_case(kind).on(components=(3, 3, 1, 1) + (0,) * 12, pce_svn=5)
    verdict = replace(case, expectations=everything).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.status) == (True, False, "Revoked")
    assert [check.id for check in verdict.mismatches] == [f"{case.tee}.accept.status"]
