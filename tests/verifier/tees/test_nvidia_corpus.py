"""Every recorded NVIDIA case against its index entry: verdict, claims, and the moments at which it turns."""

from __future__ import annotations

import subprocess
from datetime import datetime

import pytest

from verifier.collateral.nvidia_files import recognise
from verifier.endorsements.collateral import Collateral, NvidiaCollateral
from verifier.endorsements.nvidia_rim import RejectedRim, VerifiedRim, judge_rim, read_rims
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.formats.rim import Rim, SignedRim
from verifier.formats.spdm_report import OpaqueType, SpdmReport
from verifier.loose import nvidia as loose
from verifier.results.verdict import jsonable
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()
IN_2025, IN_2026 = 1_740_000_000, 1_795_000_000


def evidence(folder):
    return loose.assemble({name: (folder / name).read_bytes() for name in loose.NAMES if (folder / name).is_file()})


def rims(folder, *names):
    paths = [folder / name for name in names] if names else sorted(folder.glob("*.xml"))
    return NvidiaCollateral(rims=tuple(path.read_bytes() for path in paths))


def judge(folder, at=IN_2026, collateral=None):
    return verify(evidence(folder), collateral=Collateral(nvidia=collateral or rims(folder)), roots=Roots.makers(),
                  at=at, binding=UNBOUND)


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_each_case_gives_the_verdict_of_the_index(corpus, case):
    told = case["expected"]["verdict"]
    expected = {"verified": True, "invalid": False, "parse-only": None, "report and device chain valid": True}
    verdict = judge(corpus.folder(case))
    assert verdict.authentic is expected[told.split(";")[0].split(":")[0]], verdict.error
    assert verdict.accepted is (case["case"] == "nvidia/switch-ls10"), "there alone its manifest is given"


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_each_case_gives_the_claims_of_the_index(corpus, case):
    told = case["expected"].get("claims")
    if told is None:
        assert case["case"] == "nvidia/nras-eat-h100-dstack"
        return
    verdict = judge(corpus.folder(case))
    named = jsonable(verdict.claims.named() if verdict.authentic else dict(verdict.unverified))
    assert {name: named.get(name) for name in told} == told
    assert named["devices"] == [{name: named[name] for name in named["devices"][0]}]


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_each_case_holds_exactly_in_its_window(corpus, case):
    if not case["expected"]["verdict"].startswith(("verified", "report")):
        return
    folder = corpus.folder(case)
    first, last = (int(datetime.fromisoformat(case["valid_window"][end]).timestamp()) for end in
                   ("not_before", "not_after"))
    for at, authentic in ((first - 1, False), (first, True), (last, True), (last + 1, False)):
        verdict = judge(folder, at, NvidiaCollateral())
        assert (verdict.authentic, verdict.valid_until) == (authentic, last if authentic else None)
        if not authentic:
            assert verdict.error.id.startswith("nvidia.chain.")
            assert verdict.error.id.endswith(".validity")


def test_a_bad_signature_is_told_as_such(corpus):
    verdict = judge(corpus.folder("nvidia/neg-hopper-invalid-signature"))
    assert verdict.error.id == "nvidia.report.signature"


def test_the_firmware_identity_of_the_case_with_a_bad_signature_differs_as_well(corpus):
    verdict = judge(corpus.folder("nvidia/hopper-535.86.09-rim"))
    other = SpdmReport.from_bytes((corpus.folder("nvidia/neg-hopper-invalid-signature") / "report.bin").read_bytes())
    assert other.field(OpaqueType.FWID) != verdict.claims.endorsement["fwid"], "both cases carry one chain"


# -- manifests ---------------------------------------------------------------------------------------------------------

REASONS = {"valid": None, "InvalidDigest": "nvidia.rim.digest", "InvalidSignature": "nvidia.rim.signature"}


def midpoint(told):
    first, last = (datetime.fromisoformat(told[end]).timestamp() for end in ("leaf_not_before", "leaf_not_after"))
    return int(first), int((first + last) / 2), int(last)


@pytest.mark.corpus("nvidia-rim")
def test_each_manifest_verifies_or_does_not_as_the_index_says(corpus, case):
    for name, told in case["expected"]["files"].items():
        data = (corpus.folder(case) / name).read_bytes()
        assert recognise(data) == NvidiaCollateral(rims=(data,))
        document, first, (at, last) = SignedRim.from_bytes(data), *((m := midpoint(told))[0], m[1:])
        assert Rim.from_bytes(document.signed) == document.claimed
        assert document.claimed.meta == told["meta"]["meta"]
        assert {key: document.claimed.attributes[key] for key in ("name", "tagId", "version")} == {
            key: told["meta"][key] for key in ("name", "tagId", "version")}
        assert len(document.claimed.active) == told["active_measurements"]
        judged = judge_rim("nvidia", document, (), Roots.makers(), at)
        reason = REASONS[told["xml_signature_at_midpoint_of_leaf_validity"].split(":")[0]]
        if not told["chain_ok"]:
            reason = "nvidia.rim.chain.length"
        assert (judged.reason if isinstance(judged, RejectedRim) else None) == reason, name
        assert judged.window.contains(at)
        for outside in (first - 1, last + 1):
            late = judge_rim("nvidia", document, (), Roots.makers(), outside)
            assert isinstance(late, RejectedRim)
            assert not judged.window.contains(outside)


def test_the_debug_root_vouches_for_its_manifest_only_where_it_is_configured(corpus):
    """Its chain is of another shape as well, so it is refused either way."""
    document, = read_rims(rims(corpus.folder("nvidia/rim-documents"), "incorrect_cert_chain_driver_rim.xml").rims)
    debug = document.certificates[-1]
    assert judge_rim("nvidia", document, (), Roots.only_software([debug]), IN_2026).reason == "nvidia.rim.chain.length"


def test_a_manifest_that_expired_is_not_used(corpus):
    folder = corpus.folder("nvidia/neg-hopper-570.124.03-expired")
    verdict = judge(folder)
    assert verdict.flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")
    assert verdict.claims.endorsement["rims"]["driver"]["rejected"] == ["nvidia.rim.chain.leaf.validity"]
    inside = judge(folder, int(datetime.fromisoformat("2025-01-01T12:00:00Z").timestamp()))
    assert inside.claims.endorsement["rims"]["driver"]["rejected"] == ["nvidia.rim.digest"], "its text was changed too"


def test_a_genuine_manifest_vouches_for_a_genuine_switch(corpus):
    folder = corpus.folder("nvidia/switch-ls10")
    verdict = judge(folder, collateral=rims(folder, "switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"))
    assert (verdict.accepted, verdict.flags, verdict.claims.software) == (True, (), False)
    assert verdict.claims.endorsement["measurements_compared"] == list(range(31))
    assert verdict.valid_until == int(datetime.fromisoformat("2027-11-02T23:59:59Z").timestamp()), "the L3 ends first"
    broken = [name.name for name in folder.glob("NV_SWITCH*.xml")]
    assert len(broken) == 2
    assert judge(folder, collateral=rims(folder, *broken)).flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")


def test_a_genuine_manifest_tells_each_index_that_differs(corpus):
    case = corpus.case("nvidia/hopper-535.86.09-rim")
    told = case["expected"]["checks"]["rim"][1]
    verdict = judge(corpus.folder(case), IN_2025)
    assert verdict.claims.endorsement["measurements_mismatched"] == told["mismatched_indices"] == [9]
    assert [check.id for check in verdict.mismatches] == [
        "nvidia.accept.rim_rejected", "nvidia.accept.measurements_not_compared",
        "nvidia.accept.measurement_mismatch_9"]
    assert len(verdict.claims.endorsement["measurements_compared"]) == told["active"]


# -- chains ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "what"), [(2, "the root alone"), (3, "no provisioner"), (4, "no leaf")])
def test_chains_with_a_certificate_missing_are_refused(corpus, number, what):
    folder = corpus.folder("nvidia/hopper-550.90.07-trustee")
    chain = (folder / f"hopper_cert_chain_case{number}.txt").read_bytes()
    verdict = verify(evidence_of(DeviceEvidence((folder / "report.bin").read_bytes(), chain)),
                     collateral=Collateral.none(), roots=Roots.makers(), at=IN_2026, binding=UNBOUND)
    assert (verdict.authentic, verdict.error.id) == (False, "nvidia.chain.length"), what


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_openssl_says_the_same_of_each_chain(corpus, case, tmp_path):
    path = corpus.folder(case) / "cert_chain.pem"
    if not path.exists():
        return
    blocks = [block + b"-----END CERTIFICATE-----\n" for block in path.read_bytes().split(b"-----END CERTIFICATE-----")
              if b"BEGIN" in block]
    for name, data in (("root", blocks[-1]), ("between", b"".join(blocks[1:-1])), ("leaf", blocks[0])):
        (tmp_path / name).write_bytes(data)
    ran = subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "root", "-untrusted",
                          tmp_path / "between", tmp_path / "leaf"], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


# -- answers of a service ----------------------------------------------------------------------------------------------


def test_an_answer_of_a_service_is_not_decided(corpus):
    folder = corpus.folder("nvidia/nras-eat-h100-dstack")
    for name in ("hopperClaimsv3_detached_eat.json", "gpu_attestation_h100.json"):
        found = loose.assemble({name: (folder / name).read_bytes()})
        verdict = verify(found, collateral=Collateral.none(), roots=Roots.makers(), at=IN_2026, binding=UNBOUND)
        assert (verdict.authentic, verdict.accepted, verdict.exit_code) == (None, False, 2)
        assert verdict.error.id == "collateral.nvidia.service_keys"


def test_a_verified_manifest_is_one(corpus):
    document, = read_rims(rims(corpus.folder("nvidia/rim-documents"), "NV_GPU_DRIVER_GH100_550.144.03.xml").rims)
    judged = judge_rim("nvidia", document, (), Roots.makers(), IN_2026)
    assert isinstance(judged, VerifiedRim)
    assert [check.id for check in judged.checks][:2] == ["nvidia.rim.algorithms", "nvidia.rim.chain.length"]
    assert all(check.ok for check in judged.checks)
