"""Every recorded SNP case against its index entry: verdict, flags, claims, and the moments at which it turns."""

from __future__ import annotations

import base64
import json
from datetime import datetime

import pytest

from verifier.endorsements.collateral import AmdCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.snp_cert_table import CertTable
from verifier.formats.snp_json import evidence_from_json, evidence_to_json
from verifier.results.verdict import jsonable
from verifier.tees.snp import SnpRecipe
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()
SOME_DAY = 1_750_000_000


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def files(folder, *patterns: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for pattern in patterns for path in sorted(folder.glob(pattern)))


def judge(folder, at, *, report: str = "report.bin", certificates=None, evidence=None):
    evidence = evidence or Evidence(Tee.SNP, (folder / report).read_bytes())
    supplied = files(folder, "*.der", "*.pem") if certificates is None else certificates
    collateral = Collateral(amd=AmdCollateral(supplied, files(folder, "*.crl")))
    return verify(evidence, collateral=collateral, roots=Roots.makers(), at=at, binding=UNBOUND)


def window(case) -> tuple[int, int]:
    return moment(case["valid_window"]["not_before"]), moment(case["valid_window"]["not_after"])


@pytest.mark.corpus("snp")
def test_each_case_gives_the_verdict_of_the_index(corpus, case):
    folder = corpus.folder(case)
    told = case["expected"]["verdict"]
    if not (folder / "report.bin").exists():
        assert case["case"] == "snp/kds-crl-openpcc", "lists and a certificate; tested in endorsements"
        return
    at = window(case)[0] if case.get("valid_window") else SOME_DAY
    verdict = judge(folder, at)
    expected = {"verified": True, "invalid": False, "parse-only": None, "report-badsig.bin": None}
    assert verdict.authentic is expected[told.split(":")[0].split(" ")[0]], verdict.error
    assert verdict.status is None
    if verdict.authentic:
        assert list(verdict.flags) == case["expected"]["policy_flags"]
        assert verdict.accepted is (not verdict.flags)
        assert verdict.claims.software is False


@pytest.mark.corpus("snp")
def test_each_case_gives_the_claims_of_the_index_and_no_others(corpus, case):
    folder, told = corpus.folder(case), case["expected"].get("claims")
    if told is None:
        assert case["case"] in ("snp/kds-crl-openpcc", "snp/neg-lit-malformed")
        return
    verdict = judge(folder, window(case)[0] if case.get("valid_window") else SOME_DAY)
    if verdict.authentic:
        named = jsonable(verdict.claims.named())
        assert {name: named.get(name) for name in told} == told
        assert set(verdict.claims.body) == set(told)
    else:
        assert jsonable(dict(verdict.unverified)) == told


@pytest.mark.corpus("snp")
def test_each_case_holds_exactly_in_its_window(corpus, case):
    if not case["expected"]["verdict"].startswith("verified"):
        return
    folder = corpus.folder(case)
    for endorsement in case["expected"]["endorsement"]:
        first, last = (moment(text) for text in endorsement["cert_validity"])
        certificates = files(folder, endorsement["cert"], "cert_chain.pem")
        for at, authentic in ((first - 1, False), (first, True), (last, True), (last + 1, False)):
            verdict = judge(folder, at, certificates=certificates)
            assert verdict.authentic is authentic
            assert verdict.valid_until == (last if authentic else None)
            if not authentic:
                assert verdict.error.id == f"snp.{endorsement['signing_key'].lower()}.validity"


@pytest.mark.corpus("snp")
def test_each_case_needs_no_more_than_its_leaf(corpus, case):
    """AMD's authorities are pinned: the chain of the folder makes no difference."""
    if not case["expected"]["verdict"].startswith("verified"):
        return
    for endorsement in case["expected"]["endorsement"]:
        verdict = judge(corpus.folder(case), window(case)[0] + 86400 * 90,
                        certificates=files(corpus.folder(case), endorsement["cert"]))
        assert verdict.authentic is True
        told, claims = endorsement, jsonable(verdict.claims.endorsement)
        assert (claims["endorsement_key"], claims["product_line"], claims["product_name"], claims["vek"]["serial"]) == (
            told["signing_key"], told["product_line"], told["product_name"], told["serial"])
        assert [claims["vek"]["not_before"], claims["vek"]["not_after"]] == [moment(t) for t in told["cert_validity"]]
        assert (claims.get("hwid"), claims.get("csp_id")) == (told["extensions"].get("hw_id"), told.get("csp_id"))


@pytest.mark.corpus("snp")
def test_each_case_is_the_same_as_protocol_json(corpus, case):
    if not case["expected"]["verdict"].startswith("verified"):
        return
    folder, at = corpus.folder(case), window(case)[0]
    certificates = files(folder, case["expected"]["endorsement"][0]["cert"])
    sent = json.dumps(evidence_to_json(Evidence(Tee.SNP, (folder / "report.bin").read_bytes(), certificates)))
    received = evidence_from_json(json.loads(sent))
    verdict = judge(folder, at, certificates=(), evidence=received)
    assert verdict.authentic is True
    assert verdict.claims.body == judge(folder, at).claims.body


def test_the_certificate_of_another_chip_is_named_as_the_fault(corpus):
    verdict = judge(corpus.folder("snp/neg-vcek-of-other-chip"), SOME_DAY + 86400 * 60)
    assert verdict.authentic is False
    assert verdict.error.id == "snp.vcek.tcb.fmc"
    assert all(check.ok for check in verdict.checks[:-1]), "the chain itself is good"


@pytest.mark.parametrize("name", ["vcek-invalid-legacy.der", "vcek-invalid-new.der"])
def test_a_sanitised_certificate_does_not_verify_under_the_pin(corpus, name):
    folder = corpus.folder("snp/milan-v2-vcek-azure-trustee")
    verdict = judge(folder, SOME_DAY, certificates=files(folder, name, "cert_chain.pem"))
    assert (verdict.authentic, verdict.error.id) == (False, "snp.vcek.signature")


@pytest.mark.parametrize("name", ["report-badsig.bin", "report-corrupt.bin"])
def test_reports_of_another_length_are_refused(corpus, name):
    verdict = judge(corpus.folder("snp/neg-lit-malformed"), SOME_DAY, report=name)
    assert (verdict.authentic, verdict.error.id) == (False, "format.snp_report")


def test_the_kernels_two_files_are_evidence(corpus):
    """configfs-tsm ``outblob`` and ``auxblob`` as one guest recorded them; the certificates are PEM."""
    folder = corpus.folder("snp/genoa-v3-vcek-tsm-auxblob-veraison")
    recorded = json.loads((folder / "tsm-report.json").read_text())
    report, table = (base64.urlsafe_b64decode(recorded[name] + "==") for name in ("outblob", "auxblob"))
    evidence = Evidence(Tee.SNP, report, CertTable.from_bytes(table).certificates)
    assert judge(folder, SOME_DAY, certificates=(), evidence=evidence).authentic is True


def test_two_certifications_of_one_key_are_both_right(corpus):
    folder = corpus.folder("snp/milan-v3-vcek-azure-aci")
    ends = {judge(folder, 1_775_000_000, certificates=files(folder, name)).valid_until
            for name in ("vcek.der", "vcek-2.der")}
    assert len(ends) == 2
    assert None not in ends


def test_every_single_bit_flip_of_a_recorded_report_is_refused(corpus):
    """Only bytes that are signed, or that must be zero: a Turin report of version 5."""
    folder = corpus.folder("snp/turin-v5-vcek-oak")
    good = (folder / "report.bin").read_bytes()
    certificates = files(folder, "vcek.der")
    collateral = Collateral(amd=AmdCollateral(certificates))
    roots = Roots.makers()
    for byte in range(0, len(good), 3):
        flipped = good[:byte] + bytes((good[byte] ^ 1 << byte % 8,)) + good[byte + 1:]
        verdict = verify(Evidence(Tee.SNP, flipped), collateral=collateral, roots=roots, at=SOME_DAY + 86400 * 60,
                         binding=UNBOUND)
        assert verdict.authentic is False, byte


def test_the_recipe_reads_every_recorded_report_without_certificates(corpus):
    recipe = SnpRecipe()
    for path in sorted(corpus.root.glob("snp/*/report.bin")):
        told = recipe.inspect(recipe.parse(Evidence(Tee.SNP, path.read_bytes())))
        assert told["measurement"] == path.read_bytes()[0x90:0xC0]
