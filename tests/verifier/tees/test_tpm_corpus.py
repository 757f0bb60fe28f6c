"""Every recorded TPM case against its index entry: verdict, flags and claims."""

from __future__ import annotations

import json

import pytest

from verifier.appraisal.expectations import Expectations
from verifier.endorsements.collateral import Collateral, TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Tee
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.formats.tpm_json import evidence_from_json, evidence_to_json
from verifier.loose.folder import read
from verifier.results.verdict import jsonable
from verifier.verify import verify

# Google's older CA has a name of 79 characters, of which the X.509 library warns.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be")

UNBOUND = Binding.insecure_unbound()
AT = 1_764_000_000
MEANING = {"valid": True, "chain": None, "parse": None}
FLAGS = {
    "tpm/azure-kinvolk-bincode": ("AK_UNPROVEN",), "tpm/trustee-rsa-24pcr": ("AK_UNPROVEN",),
    "tpm/veraison-parsec-key-attestation": ("AK_UNPROVEN",), "tpm/gce-cos-85-no-nonce": (),
    "tpm/goattestation-windows-gcp-sha1": ("AK_UNPROVEN", "SHA1_SIGNATURE", "SHA1_PCRS"),
}
UNDECIDED = {"tpm/dstack-attest-only": "evidence.tpm.signature", "tpm/gce-ak-chain-openpcc": "evidence.tpm.quote"}


def judge(folder, *, roots=None, tpm=None, at=AT, **options):
    evidence = options.pop("evidence", None) or read(folder, Tee.TPM)
    return verify(evidence, collateral=Collateral(tpm=tpm), roots=roots or Roots.makers(), at=at,
                  binding=options.pop("binding", UNBOUND), **options)


@pytest.mark.corpus("tpm2")
def test_each_case_gives_the_verdict_of_the_index(corpus, case):
    verdict = judge(corpus.folder(case))
    expected = MEANING[case["expected"]["verdict"].split()[0].strip(":")]
    assert verdict.authentic is expected, verdict.error
    if expected:
        assert verdict.flags == FLAGS[case["case"]]
        assert verdict.accepted is (not verdict.flags)
        assert verdict.claims.software is ("AK_UNPROVEN" in verdict.flags), "it may be anybody's key"
        allowed = judge(corpus.folder(case), expectations=Expectations(allowed_flags=verdict.flags))
        assert allowed.accepted is True
    else:
        assert verdict.error.id == UNDECIDED[case["case"]]


@pytest.mark.corpus("tpm2")
def test_each_case_gives_the_claims_of_the_index(corpus, case):
    verdict = judge(corpus.folder(case))
    named = jsonable(verdict.claims.named() if verdict.claims else dict(verdict.unverified))
    for name, told in case["expected"]["claims"].items():
        if name == "quotes":
            for ours, theirs in zip(named["quotes"], told, strict=True):
                assert {key: ours[key] for key in theirs} == theirs
        elif case["case"] != "tpm/gce-ak-chain-openpcc":
            assert named[name] == told, name


@pytest.mark.corpus("tpm2")
def test_each_case_is_the_same_as_json(corpus, case):
    evidence = read(corpus.folder(case), Tee.TPM)
    sent = json.dumps(evidence_to_json(evidence))
    received = evidence_from_json(json.loads(sent))
    assert received == evidence
    assert TpmEvidence.from_bytes(evidence.quote).to_bytes() == evidence.quote


@pytest.mark.corpus("tpm2")
def test_the_folder_tells_its_own_kind(corpus, case):
    assert read(corpus.folder(case)).tee is Tee.TPM


def test_googles_chain_is_the_trust_and_the_log_replays(corpus):
    verdict = judge(corpus.folder("tpm/gce-cos-85-no-nonce"))
    claims = verdict.claims.named()
    assert claims["ak_trust"] == "certificate"
    assert claims["ak_root"] == "google-tpm-ek-v1-cloud-host-root-1"
    assert (claims["ak_hierarchy"], claims["ak_name_confirmed"]) == ("endorsement", True)
    assert claims["gce_instance"] == {
        "zone": "us-central1-a", "project_number": 0x1B5A475C69, "project_id": "google.com:wuale-gcp-testing",
        "instance_id": 0x5E53E3FBBF8306C5, "instance_name": "cos-test", "security_version": 0, "production": True}
    assert claims["tpm"] == {"manufacturer": "id:474F4F47", "model": "vTPM", "version": "id:20160511"}
    assert set(claims["pcrs"]) == {"sha1", "sha256", "sha384"}
    assert verdict.claims.init_data == claims["pcrs"]["sha256"]["8"]
    assert claims["event_log"]["secure_boot_enabled"] is not None
    assert sum(check.id.startswith("tpm.event_log.replay.") for check in verdict.checks) >= 30


def test_googles_newer_chain_verifies_before_the_missing_quote_is_noticed(corpus):
    verdict = judge(corpus.folder("tpm/gce-ak-chain-openpcc"))
    held = [check.id for check in verdict.checks if check.ok]
    assert {"tpm.chain.root", "tpm.chain.intermediate.signature", "tpm.ak_certificate.signature",
            "tpm.ak_certificate.purpose"} <= set(held)


@pytest.mark.parametrize(("moment", "rule"), [(1_630_451_464, "ak_certificate"), (2_576_531_766, "ak_certificate"),
                                              (1_603_400_527, "chain.intermediate")])
def test_a_chain_holds_within_its_dates_only(corpus, moment, rule):
    verdict = judge(corpus.folder("tpm/gce-cos-85-no-nonce"), at=moment)
    assert (verdict.authentic, verdict.error.id) == (False, f"tpm.{rule}.validity")


def test_without_the_intermediate_nothing_can_be_decided_and_collateral_may_bring_it(corpus):
    folder = corpus.folder("tpm/gce-cos-85-no-nonce")
    whole = read(folder, Tee.TPM)
    bare = type(whole)(Tee.TPM, whole.quote, whole.certificates[:1], whole.event_log)
    verdict = judge(folder, evidence=bare)
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.tpm.intermediate")
    brought = TpmCollateral(certificates=((folder / "tpm_ek_intermediate_2.der").read_bytes(),))
    assert judge(folder, evidence=bare, tpm=brought).accepted is True


def test_under_other_roots_the_same_chain_is_refused(corpus):
    verdict = judge(corpus.folder("tpm/gce-cos-85-no-nonce"), roots=Roots(()))
    assert (verdict.authentic, verdict.error.id) == (False, "tpm.chain.root")


def test_a_provisioned_key_is_trusted_and_stays_hardware(corpus):
    folder = corpus.folder("tpm/trustee-rsa-24pcr")
    key = (folder / "ak.der").read_bytes()
    verdict = judge(folder, roots=Roots.makers().with_provisioned([key]))
    assert (verdict.accepted, verdict.claims.endorsement["ak_trust"]) == (True, "provisioned")
    assert verdict.claims.software is False


def test_a_key_named_as_a_root_is_software(corpus):
    folder = corpus.folder("tpm/azure-kinvolk-bincode")
    verdict = judge(folder, roots=Roots.makers().with_software([(folder / "akpub.pem").read_bytes()]))
    assert (verdict.authentic, verdict.claims.endorsement["ak_trust"]) == (True, "provisioned")
    assert verdict.claims.software is True


def test_the_key_may_come_as_collateral(corpus):
    folder = corpus.folder("tpm/veraison-parsec-key-attestation")
    told = TpmEvidence.from_bytes(read(folder, Tee.TPM).quote)
    bare = evidence_from_json({name: value for name, value in told.to_members().items() if name != "ak_public"})
    assert judge(folder, evidence=bare).error.id == "collateral.tpm.ak"
    other = corpus.folder("tpm/azure-kinvolk-bincode") / "akpub.pem"
    keys = (other.read_bytes(), (folder / "ak.pem").read_bytes())
    verdict = judge(folder, evidence=bare, tpm=TpmCollateral(keys=keys))
    assert (verdict.authentic, verdict.flags) == (True, ("AK_UNPROVEN",))
    assert judge(folder, evidence=bare, tpm=TpmCollateral(keys=keys[:1])).error.id.startswith("tpm.tpm_quote.signature")


def test_a_public_area_may_come_as_collateral(corpus):
    folder = corpus.folder("tpm/goattestation-windows-gcp-sha1")
    told = TpmEvidence.from_bytes(read(folder, Tee.TPM).quote)
    bare = TpmEvidence(quotes=told.quotes)
    evidence = evidence_from_json(bare.to_members())
    area = (folder / "ak.tpmt_public").read_bytes()
    assert judge(folder, evidence=evidence, tpm=TpmCollateral(keys=(area,))).authentic is True
    assert judge(folder, evidence=evidence, tpm=TpmCollateral(keys=(b"?",))).error.id == "collateral.tpm.key"


@pytest.mark.parametrize("nonce", ["challenge", "challeng", "challenge\0", "Challenge", ""])
def test_the_nonce_is_compared_exactly(corpus, nonce):
    verdict = judge(corpus.folder("tpm/azure-kinvolk-bincode"), binding=Binding(nonce.encode()),
                    expectations=Expectations(allowed_flags=("AK_UNPROVEN",)))
    assert verdict.authentic is True
    assert verdict.accepted is (nonce == "challenge")


def test_the_creation_of_a_key_confirms_its_name(corpus):
    claims = judge(corpus.folder("tpm/goattestation-windows-gcp-sha1")).claims.named()
    assert (claims["ak_hierarchy"], claims["ak_name_confirmed"]) == (None, True)
    assert "restricted" in claims["ak_attributes"]
