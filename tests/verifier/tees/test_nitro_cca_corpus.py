"""Every recorded Nitro document and CCA token against its index entry: verdict, flags, claims, and when it turns."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from verifier.endorsements.collateral import ArmCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import MissingCollateral
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.coco_evidence import evidence_from_json, evidence_to_json
from verifier.formats.cose import CoseSign1
from verifier.loose.folder import read
from verifier.results.verdict import Verdict, jsonable
from verifier.verify import verify

# The X.509 library warns of what damaged certificates say before they are refused.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

UNBOUND = Binding.insecure_unbound()
SOME_DAY = 1_780_000_000
# Index reason: check id.
REASONS = {
    "certificate does not parse": "collateral.certificate", "cose_signature": "nitro.document.signature",
    "root_is_aws_nitro_g1": "nitro.chain.root", "platform_challenge_equals_hash_of_rak": "cca.platform.challenge",
}


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def window(case: dict[str, Any]) -> tuple[int, int]:
    """When a document's certificates are good; the one that cannot be read was made from another of the same hour."""
    told = case.get("valid_window") or {"not_before": "2021-09-09T10:19:20Z", "not_after": "2021-09-09T13:19:20Z"}
    return moment(told["not_before"]), moment(told["not_after"])


def judge(evidence: Evidence, at: int, *, roots: Roots | None = None, cpaks: tuple[bytes, ...] = (),
          binding: Binding = UNBOUND) -> Verdict:
    return verify(evidence, collateral=Collateral(arm=ArmCollateral(cpaks)) if cpaks else Collateral.none(),
                  roots=roots or Roots.makers(), at=at, binding=binding)


def cpak(folder: Any) -> bytes:
    return (folder / "cpak.jwk.json").read_bytes()


def check_verdict(case: dict[str, Any], verdict: Verdict) -> None:
    told, _, reason = case["expected"]["verdict"].partition(": ")
    assert verdict.authentic is {"verified": True, "invalid": False}[told], verdict.error
    if verdict.authentic is False:
        assert verdict.error.id == REASONS[reason]


@pytest.mark.corpus("nitro")
def test_each_document_gives_the_verdict_of_the_index(corpus, case):
    verdict = judge(read(corpus.folder(case)), window(case)[0])
    check_verdict(case, verdict)
    if verdict.authentic:
        debug = case["expected"]["policy_flags"] == ["DEBUG_MODE (PCR0-2 all zero)"]
        assert verdict.flags == (("NITRO_DEBUG",) if debug else ())
        assert (verdict.accepted, verdict.claims.software) == (not debug, False)


@pytest.mark.corpus("nitro")
def test_each_document_gives_the_claims_of_the_index_and_no_others(corpus, case):
    told = dict(case["expected"].get("claims", {}))
    verdict = judge(read(corpus.folder(case)), window(case)[0])
    subject = told.pop("leaf_subject", None)
    if verdict.authentic:
        assert jsonable(verdict.claims.body) == told
        assert verdict.claims.endorsement["leaf_subject"] == subject
    elif told:
        assert jsonable(dict(verdict.unverified)) == told


@pytest.mark.corpus("nitro")
def test_each_document_holds_exactly_in_its_window(corpus, case):
    if case["expected"]["verdict"] != "verified":
        return
    first, last = window(case)
    evidence = read(corpus.folder(case))
    for at, authentic in ((first - 1, False), (first, True), (last, True), (last + 1, False), (SOME_DAY, False)):
        verdict = judge(evidence, at)
        assert verdict.authentic is authentic
        assert verdict.valid_until == (last if authentic else None)
        if not authentic:
            assert verdict.error.id.endswith(".validity")


@pytest.mark.corpus("nitro")
def test_each_document_binds_its_nonce(corpus, case):
    if case["expected"]["verdict"] != "verified" or case["expected"]["policy_flags"]:
        return
    evidence, at, told = read(corpus.folder(case)), window(case)[0], case["expected"]["claims"]["nonce"]
    nonce = bytes.fromhex(told or "")
    assert judge(evidence, at).claims.report_data == nonce
    assert judge(evidence, at, binding=Binding(nonce)).accepted is bool(nonce)
    assert judge(evidence, at, binding=Binding(nonce + b"\x00")).accepted is False


@pytest.mark.corpus("nitro")
def test_each_document_is_the_same_under_a_tag_and_as_json(corpus, case):
    evidence, at = read(corpus.folder(case)), window(case)[0]
    message = CoseSign1.from_bytes(evidence.quote, "nitro_document")
    sent = evidence_from_json(Tee.NITRO, json.loads(json.dumps(evidence_to_json(evidence))))
    expected = judge(evidence, at).to_dict()
    for other in (Evidence(Tee.NITRO, replace(message, tagged=True).to_bytes()), sent):
        assert judge(other, at).to_dict() == expected


@pytest.mark.corpus("cca")
def test_each_token_gives_the_verdict_of_the_index(corpus, case):
    folder = corpus.folder(case)
    key, evidence = cpak(folder), read(folder)
    for roots, software in ((Roots.makers().with_provisioned([key]), False), (Roots.only_software([key]), True)):
        verdict = judge(evidence, SOME_DAY, roots=roots)
        check_verdict(case, verdict)
        if verdict.authentic:
            assert (verdict.accepted, verdict.flags, verdict.claims.software) == (True, (), software)
            assert verdict.claims.endorsement["cpak_trust"] == "provisioned"


@pytest.mark.corpus("cca")
def test_each_token_with_its_key_laid_beside_it_is_authentic_and_not_accepted(corpus, case):
    folder = corpus.folder(case)
    verdict = judge(read(folder), SOME_DAY, cpaks=(cpak(folder),))
    check_verdict(case, verdict)
    if verdict.authentic:
        assert (verdict.accepted, verdict.flags) == (False, ("CPAK_UNPROVEN",))
        assert (verdict.claims.software, verdict.claims.endorsement["cpak_trust"]) == (True, "unproven")


@pytest.mark.corpus("cca")
def test_each_token_gives_the_claims_of_the_index_and_no_others(corpus, case):
    """A component that has no version or hash of its own does not tell one."""
    folder = corpus.folder(case)
    verdict = judge(read(folder), SOME_DAY, cpaks=(cpak(folder),))
    told = verdict.claims.body if verdict.authentic else dict(verdict.unverified)
    assert jsonable(told) == case["expected"]["claims"]
    if verdict.authentic:
        realm = case["expected"]["claims"]["realm"]
        assert verdict.claims.report_data.hex() == realm["challenge"]
        assert verdict.claims.init_data.hex() == realm["personalization_value"]


@pytest.mark.corpus("cca")
def test_no_token_is_decided_without_a_key_or_accepted_with_another(corpus, case):
    evidence = read(corpus.folder(case))
    verdict = judge(evidence, SOME_DAY)
    assert isinstance(verdict.error, MissingCollateral)
    assert verdict.authentic is None
    others = {cpak(folder) for folder in corpus.root.glob("cca/*")} - {cpak(corpus.folder(case))}
    assert others
    assert judge(evidence, SOME_DAY, roots=Roots(()).with_provisioned(others)).error.id.startswith(
        "cca.platform.signature")


@pytest.mark.corpus("cca")
def test_each_token_is_the_same_as_protocol_json(corpus, case):
    folder = corpus.folder(case)
    evidence, key = read(folder), cpak(folder)
    sent = evidence_from_json(Tee.CCA, json.loads(json.dumps(evidence_to_json(evidence))))
    assert sent == evidence
    assert judge(sent, SOME_DAY, cpaks=(key,)).to_dict() == judge(evidence, SOME_DAY, cpaks=(key,)).to_dict()


def test_a_key_of_the_wrong_platform_in_the_roots_is_as_good_as_none(corpus):
    folder = corpus.folder("cca/trustee-example")
    told = json.loads(cpak(folder)) | {"implementation_id": "00" * 32}
    verdict = judge(read(folder), SOME_DAY, roots=Roots.makers().with_provisioned([json.dumps(told).encode()]))
    assert verdict.authentic is None


def test_no_bit_of_a_recorded_document_or_token_can_be_turned_over(corpus):
    document, folder = corpus.case("nitro/dstack-2025"), corpus.folder("cca/rust-ccatoken-draft-ffm-00")
    for evidence, at, options in ((read(corpus.folder(document)), window(document)[0], {}),
                                  (read(folder), SOME_DAY, {"cpaks": (cpak(folder),)})):
        data = bytearray(evidence.quote)
        for position in range(0, len(data), 61):
            data[position] ^= 1 << position % 8
            verdict = judge(Evidence(evidence.tee, bytes(data)), at, **options)
            assert verdict.authentic is False, (position, verdict.error)
            data[position] ^= 1 << position % 8
