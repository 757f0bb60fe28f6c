"""Every recorded Azure case against its index entry: verdict, flags, claims, and the moments at which it turns."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from verifier import Binding, Expectations, Roots, Verdict
from verifier.collateral.files import load
from verifier.evidence import Evidence
from verifier.formats import az_snp_json, az_tdx_json
from verifier.formats.runtime_claims import RuntimeClaims
from verifier.loose.folder import read
from verifier.results.verdict import jsonable
from verifier.verify import verify

TEES = ("azure-snp-vtpm", "azure-tdx-vtpm")
UNBOUND = Binding.insecure_unbound()
SOME_DAY = 1_750_000_000
NO_TPM_QUOTE = "azure/tdx-openpcc"
JSON_CASES = {
    "azure/snp-trustee-v0": "evidence-v0.json", "azure/snp-trustee-v1": "evidence-v1.json",
    "azure/snp-trustee-v2": "evidence-v2.json", "azure/snp-trustee-genoa": "evidence-genoa.json",
    "azure/snp-confdotai-milan-v3": "milan-v3-attestation.json", "azure/tdx-confdotai-live": "live-evidence.json",
    "azure/tdx-trustee-v0": "evidence-v0.json",
}


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def window(case: dict[str, Any]) -> tuple[int, int] | None:
    if case.get("appraisals"):
        told = case["appraisals"][0]["valid_window"]
        return told["not_before_unix"], told["not_after_unix"]
    told = case.get("valid_window")
    return None if told is None else (moment(told["not_before"]), moment(told["not_after"]))


def at_of(case: dict[str, Any]) -> int:
    if case.get("appraisals"):
        return int(case["appraisals"][0]["at"])
    span = window(case)
    return SOME_DAY if span is None else span[0]


def judge(folder, at: int, evidence: Evidence | None = None, binding: Binding = UNBOUND,
          expectations: Expectations | None = None) -> Verdict:
    return verify(evidence or read(folder), collateral=load([folder]), roots=Roots.makers(), at=at, binding=binding,
                  expectations=expectations)


@pytest.mark.corpus(*TEES)
def test_each_folder_gives_the_verdict_of_the_index(corpus, case):
    verdict = judge(corpus.folder(case), at_of(case))
    told, expected = case["expected"]["verdict"], case["expected"]
    wanted = True if told == "verified" else False if told.startswith("invalid") else None
    assert verdict.authentic is wanted, verdict.error
    if wanted is True:
        assert verdict.claims.software is False
        flags = list(expected.get("policy_flags") or [])
        assert list(verdict.flags) == flags + (["TPM_QUOTE_MISSING"] if case["case"] == NO_TPM_QUOTE else [])
        assert (verdict.status, list(verdict.advisory_ids)) == (
            expected.get("tcb_status"), expected.get("advisory_ids") or [])
        assert verdict.accepted is (not verdict.flags and verdict.status in (None, "UpToDate"))


@pytest.mark.corpus(*TEES)
def test_each_folder_gives_the_claims_of_the_index(corpus, case):
    """PCRs outside the signed selection are told by the index and by no verdict; the case of hexadecimal is ours."""
    verdict, told = judge(corpus.folder(case), at_of(case)), dict(case["expected"]["claims"])
    named = jsonable(verdict.claims.named() if verdict.claims else dict(verdict.unverified))
    told["user_data"] = told["user_data"] and told["user_data"].lower()
    if verdict.claims and "pcrs" in told:
        selected = {str(pcr) for pcr in told["tpm_quote"]["pcr_selection"][0]["pcrs"]}
        told["pcrs"] = {pcr: value for pcr, value in told["pcrs"].items() if pcr in selected}
    assert {name: named.get(name) for name in told} == told


@pytest.mark.corpus(*TEES)
def test_what_the_guest_bound_is_the_quotes_extra_data_and_pcr_8(corpus, case):
    verdict = judge(corpus.folder(case), at_of(case))
    if verdict.claims is None:
        return
    told = case["expected"]["claims"]
    nonce, pcrs = bytes.fromhex(told.get("nonce", "")), told.get("pcrs", {})
    assert verdict.claims.report_data == nonce
    assert verdict.claims.init_data.hex() == pcrs.get("8", "")
    if nonce:
        bound = judge(corpus.folder(case), at_of(case), binding=Binding(nonce, bytes.fromhex(pcrs["8"])),
                      expectations=Expectations(allowed_flags=verdict.flags,
                                                accepted_statuses=("UpToDate", "OutOfDate")))
        assert bound.accepted
    hardware = bytes.fromhex(told["report_data"])
    assert not judge(corpus.folder(case), at_of(case), binding=Binding(hardware)).accepted


@pytest.mark.corpus(*TEES)
def test_each_case_holds_exactly_in_its_window(corpus, case):
    """The index counts the second at which a revocation list is to be replaced in; here the list ends before it."""
    span = window(case)
    if case["expected"]["verdict"] != "verified" or span is None:
        return
    first, last = span
    folder = corpus.folder(case)
    end = judge(folder, at_of(case)).valid_until
    assert end in ((last,) if case["tee"] == "azure-snp-vtpm" else (last - 1, last))
    for at, authentic in ((first - 1, False), (first, True), (end, True), (end + 1, False)):
        assert judge(folder, at).authentic is authentic, at


@pytest.mark.parametrize(("name", "file"), JSON_CASES.items(), ids=JSON_CASES)
def test_the_json_gives_the_same_verdict_as_the_parts(corpus, name, file):
    folder, case = corpus.folder(name), corpus.case(name)
    module = az_snp_json if "/snp-" in name else az_tdx_json
    sent = module.evidence_from_json(json.loads((folder / file).read_text()))
    parts, whole = judge(folder, at_of(case)), judge(folder, at_of(case), sent)
    assert (whole.authentic, whole.claims) == (True, parts.claims)


def test_a_quote_of_another_vm_is_refused_by_its_signature(corpus):
    folder = corpus.folder("azure/neg-tpm-quote-of-other-ak")
    verdict = judge(folder, at_of(corpus.case("azure/neg-tpm-quote-of-other-ak")))
    assert verdict.error.id == "az-snp-vtpm.tpm_quote.signature"
    assert [check.id for check in verdict.checks if not check.ok] == [verdict.error.id]


@pytest.mark.parametrize(("name", "missing"), [
    ("azure/snp-kinvolk-hclreport-2048", "collateral.amd.vcek"),
    ("azure/tdx-constellation-hclreport", "collateral.td_quote"),
    ("azure/tdx-kinvolk-hclreport", "collateral.td_quote"),
])
def test_a_report_alone_is_undecided_and_forged_claims_are_refused(corpus, name, missing):
    folder = corpus.folder(name)
    evidence = read(folder)
    verdict = judge(folder, SOME_DAY)
    assert (verdict.authentic, verdict.error.id, verdict.exit_code) == (None, missing, 2)
    module = az_snp_json if "/snp-" in name else az_tdx_json
    parts = module.parts_of(evidence)
    data = bytearray(parts.hcl_report)
    where = bytes(data).index(b"vmUniqueId") + 20
    data[where] ^= 1
    assert RuntimeClaims.from_bytes(bytes(data[1236 : 1236 + int.from_bytes(data[1232:1236], "little")]))
    forged = module.evidence_of(type(parts)(bytes(data), parts.tpm_quote, parts.endorsement))
    refused = judge(folder, SOME_DAY, forged)
    assert (refused.authentic, refused.error.id) == (False, f"{evidence.tee}.hcl.report_data")


def test_the_attestation_keys_certificate_is_told_with_its_pinned_root(corpus):
    name = "azure/tdx-flashbots-20251202"
    folder, case = corpus.folder(name), corpus.case(name)
    verdict = judge(folder, at_of(case))
    told, chain = verdict.claims.endorsement["ak_certificate"], case["expected"]["checks"]["ak_chain"][0]
    assert told["subject"] == chain["subject"]
    assert told["software"] is False
    assert told["root_sha256"].hex() == "e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95"
    bare = Evidence(read(folder).tee, read(folder).quote)
    without = verify(bare, collateral=load([folder / "collateral.json"]), roots=Roots.makers(), at=at_of(case),
                     binding=UNBOUND)
    assert without.authentic is True
    assert without.claims.endorsement["ak_certificate"] is None


def test_the_attestation_keys_certificate_must_be_of_that_key(corpus):
    ours = corpus.folder("azure/tdx-confdotai-live")
    other = (corpus.folder("azure/tdx-flashbots-20251202") / "ak_cert.der").read_bytes()
    evidence = read(ours)
    at = at_of(corpus.case("azure/tdx-confdotai-live"))
    verdict = judge(ours, at, Evidence(evidence.tee, evidence.quote, (other,)))
    assert (verdict.authentic, verdict.error.id) == (False, "az-tdx-vtpm.ak_certificate.key")


def test_expectations_reach_the_hardware_behind_the_virtual_tpm(corpus):
    for name, claim in (("azure/snp-trustee-v1", "measurement"), ("azure/tdx-confdotai-live", "mr_td")):
        folder, case = corpus.folder(name), corpus.case(name)
        told = case["expected"]["claims"]["snp" if "/snp-" in name else "tdx"][claim]
        for value, accepted in ((bytes.fromhex(told), True), (bytes(48), False)):
            verdict = judge(folder, at_of(case), expectations=Expectations(**{claim: (value,)}))
            assert verdict.accepted is accepted
