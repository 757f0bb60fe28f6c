"""What policies read: the names Trustee uses, nothing unverified, nothing that is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from verifier.appraisal.inputs import policy_input
from verifier.claims import Claims
from verifier.collateral.files import load
from verifier.endorsements.collateral import AmdCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding, Evidence, Tee
from verifier.policy.review import sample
from verifier.software_tee.event_log import SoftwareLog
from verifier.verify import verify

KINDS = ("tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v3", "sgx-v4", "sgx-v5", "snp-Milan",
         "snp-Genoa",
         "snp-Turin", "sample")


def paths(value: Any, before: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{before}/{key}"
            yield from paths(item, f"{before}/{key}")


def plain(claims: Claims) -> dict[str, Any]:
    return policy_input(claims, runtime_data=None, init_data=None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_for_review_know_every_member(claims_of, kind):
    claims = claims_of(kind)
    document = policy_input(claims, runtime_data={}, init_data={})
    known = set(paths(sample(claims.tee.value)))
    assert set(paths(document)) <= known
    missing = {path.rsplit("/", 1)[1] for path in known - set(paths(document)) if not path.startswith(("/runtime_",
                                                                                                       "/init_"))}
    assert missing <= {"tee_tcb_svn2", "mr_servicetd", "tcb_status_current", "tcb_date_current", "advisory_ids_current",
                       "reported_tcb_fmc", "csp_id", "init_data"}


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_plain_json_without_null(claims_of, kind):
    document = plain(claims_of(kind))
    assert json.loads(json.dumps(document)) == document
    assert "null" not in json.dumps(document)


def test_tdx_claims_have_trustees_names(claims_of):
    claims = claims_of("tdx-v5-td15")
    tdx = plain(claims)["tdx"]
    body, told = claims.body, tdx["quote"]["body"]
    assert (told["mr_td"], told["rtmr_0"], told["rtmr_3"]) == (body["mr_td"].hex(), body["rtmr0"].hex(),
                                                               body["rtmr3"].hex())
    assert (told["tcb_svn"], told["mrsigner_seam"]) == (body["tee_tcb_svn"].hex(), body["mr_signer_seam"].hex())
    assert told["mr_servicetd"] == body["mr_service_td"].hex()
    assert tdx["quote"]["header"] == {"tee_type": "81000000", "vendor_id": "939a7233f79c4ca9940a0db3957f0607",
                                      "att_key_type": "0200"}
    assert tdx["td_attributes"] == {"debug": False, "septve_disable": True, "migratable": False,
                                    "protection_keys": False,
                                    "key_locker": False, "perfmon": False}
    assert (tdx["tcb_status"], tdx["collateral_expiration_status"]) == ("UpToDate", "0")
    assert tdx["fmspc"] == claims.endorsement["pck"]["fmspc"].hex()
    assert tdx["earliest_expiration_date"].endswith("Z")


@pytest.mark.parametrize(("bit", "name"), [(0, "debug"), (28, "septve_disable"), (29, "migratable"),
                                           (30, "protection_keys"),
                                           (31, "key_locker"), (63, "perfmon")])
def test_each_td_attribute_is_its_bit(claims_of, bit, name):
    claims = claims_of("tdx-v4")
    attributes = (1 << bit).to_bytes(8, "little")
    told = plain(claims_of("tdx-v4", body={**claims.body, "td_attributes": attributes}))["tdx"]["td_attributes"]
    assert [set_one for set_one, value in told.items() if value] == [name]


def test_sgx_claims_have_trustees_names_and_numbers_beside(claims_of):
    claims = claims_of("sgx-v3")
    changed = {**claims.body, "isv_svn": 0x0102, "isv_prod_id": 7,
               "attributes": bytes([7]) + bytes(7) + bytes([0xE7]) + bytes(7)}
    sgx = plain(claims_of("sgx-v3", body=changed))["sgx"]
    assert (sgx["body"]["isv_svn"], sgx["body"]["isv_prod_id"]) == ("0201", "0700")
    assert (sgx["isv_svn"], sgx["isv_prod_id"]) == (0x0102, 7)
    assert sgx["body"]["attributes"] == {"flags": "0700000000000000", "xfrm": "e700000000000000"}
    assert sgx["debug"] is True
    assert plain(claims)["sgx"]["debug"] is False


def test_snp_claims_have_trustees_names(claims_of):
    claims = claims_of("snp-Turin")
    snp = plain(claims)["snp"]
    tcb = claims.body["reported_tcb_decoded"]
    assert snp["measurement"] == claims.body["measurement"].hex()
    assert [snp[f"reported_tcb_{part}"] for part in ("fmc", "bootloader", "tee", "snp", "microcode")] == [
        tcb[part] for part in ("fmc", "bootloader", "tee", "snp", "microcode")]
    assert (snp["policy_debug_allowed"], snp["policy_migrate_ma"], snp["policy_smt_allowed"]) == (False, False, True)
    assert snp["product"] == "Turin"
    assert "reported_tcb_fmc" not in plain(claims_of("snp-Milan"))["snp"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("software", [True, False])
def test_software_and_flags_stand_under_every_tee(claims_of, kind, software):
    claims = claims_of(kind, software=software, flags=("A", "B"))
    told = plain(claims)[claims.tee.value]
    assert (told["software"], told["flags"]) == (software, ["A", "B"])


@pytest.mark.parametrize("kind", KINDS)
def test_bound_fields_are_hexadecimal_at_the_top(claims_of, kind):
    document = plain(claims_of(kind, report_data=b"\xab" * 64, init_data=b"\xcd" * 32))
    assert (document["report_data"], document["init_data"]) == ("ab" * 64, "cd" * 32)


@pytest.mark.parametrize("name", ["runtime_data", "init_data"])
def test_what_was_not_presented_is_absent(claims_of, name):
    given = {"runtime_data": {"nonce": "a"}, "init_data": {"aa.toml": {}}}
    key = {"runtime_data": "runtime_data_claims", "init_data": "init_data_claims"}[name]
    assert policy_input(claims_of(), **given)[key] == given[name]
    assert key not in policy_input(claims_of(), **{**given, name: None})


def test_an_optional_claim_that_is_dropped_vanishes(claims_of):
    """Nothing takes the place of what is missing: no zero, no empty text."""
    claims = claims_of("tdx-v4")
    tcb = {"tcb": {**claims.tcb["tcb"], "evaluation_number": None}}
    told = plain(claims_of("tdx-v4", tcb=tcb, status=None, endorsement={}))["tdx"]
    assert not {"tcb_eval_num", "tcb_status", "fmspc", "platform_provider_id", "sgx_type"} & set(told)
    assert "collateral_expiration_status" not in plain(claims_of("tdx-v4", tcb={}))["tdx"]


def test_what_travelled_beside_the_evidence_never_arrives(intel_case):
    """An event log is unsigned: its facts are claims once it replayed; policy input is the same with and without."""
    log = SoftwareLog()
    guest = log.guest()
    case = intel_case("tdx-v4").says(**{f"rtmr{number}": getattr(guest, f"rtmr{number}") for number in range(4)})
    told = []
    for event_log in (log.to_bytes(), None):
        verdict = verify(Evidence(Tee.TDX, case.raw, event_log=event_log), at=case.at, roots=case.trusted,
                         collateral=Collateral(intel=case.intel_collateral), binding=case.binding)
        assert ("event_log" in verdict.claims.body) is (event_log is not None)
        told.append(plain(verdict.claims))
    assert told[0] == told[1]


def test_claims_of_an_unknown_tee_have_no_input(claims_of, monkeypatch):
    monkeypatch.setattr("verifier.appraisal.inputs._BUILDERS", {})
    with pytest.raises(SetupError) as caught:
        plain(claims_of())
    assert caught.value.id == "policy_input.tee"


# Real evidence.

def verdict_on(corpus, case):
    folder = corpus.folder(case)
    if case["tee"] == "snp":
        window = case.get("valid_window")
        at = int(datetime.fromisoformat(window["not_before"]).timestamp()) if window else 1_750_000_000
        certificates = tuple(path.read_bytes() for pattern in ("*.der",
                                                               "*.pem") for path in sorted(folder.glob(pattern)))
        report = folder / "report.bin"
        if not report.exists():
            return None
        return verify(Evidence(Tee.SNP, report.read_bytes()), collateral=Collateral(amd=AmdCollateral(certificates)),
                      roots=Roots.makers(), at=at, binding=Binding.insecure_unbound())
    quote = next(path for path in (folder / "quote.bin", folder / "quote.dat") if path.exists())
    appraisal = case["appraisals"][0] if case.get("appraisals") else None
    if appraisal is None:
        return None
    return verify(Evidence(Tee(case["tee"]), quote.read_bytes()), collateral=load([folder / appraisal["collateral"]]),
                  roots=Roots.makers(), at=appraisal["at"], binding=Binding.insecure_unbound())


@pytest.mark.corpus("tdx", "sgx", "snp")
def test_real_evidence_is_affirming_exactly_when_everything_about_it_is_registered(corpus, case, appraise, matching):
    verdict = verdict_on(corpus, case)
    if verdict is None or verdict.claims is None:
        assert verdict is None or verdict.error is not None
        return
    claims = verdict.claims
    assert set(paths(plain(claims))) <= set(paths(sample(case["tee"])))
    values = matching(claims, allowed_flags=list(claims.flags))
    debug = bool({"TD_DEBUG", "SGX_DEBUG", "DEBUG_ALLOWED", "MIGRATE_MA_ALLOWED"} & set(claims.flags))
    result = appraise(claims, values, at=claims.valid_until)
    assert (result.status == "affirming") is (not debug and claims.status != "Revoked"), result.explanation
    without_flags = appraise(claims, matching(claims), at=claims.valid_until)
    assert (without_flags.status == "affirming") is (result.status == "affirming" and not claims.flags)
