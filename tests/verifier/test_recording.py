"""Recordings: frozen with their moment, replayed through the one code path, and read strictly."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier import Binding, Tee
from verifier.errors import CollateralError, SetupError, VerifierError
from verifier.formats.coco_evidence import evidence_to_json
from verifier.recording import MAX_ROOTS, Recording, replay_folder, save
from verifier.software_tee.intel import collateral_json
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.tpm import SmallTpm

AT = 1_780_000_000
BOUND = Binding(bytes(64), bytes(48))


def files(case) -> dict[str, bytes]:
    return {"quote.bin": case.raw, "roots.pem": case.maker.chain("root"),
            "collateral.json": json.dumps(collateral_json(case.maker.collateral(case.tee))).encode()}


@pytest.fixture
def folder(tmp_path, intel_case) -> Path:
    case = intel_case()
    save(tmp_path / "recording", files(case), tee=Tee.TDX, at=case.at, binding=BOUND)
    return tmp_path / "recording"


def rewritten(folder: Path, **changes: object) -> Path:
    path = folder / "recording.json"
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in told.items() if value is not ...}))
    return folder


def refusal(folder: Path, kind: type[VerifierError] = SetupError) -> str:
    with pytest.raises(kind) as caught:
        Recording.load(folder)
    assert replay_folder(folder).exit_code == 2
    return caught.value.id


def test_a_recording_keeps_everything_that_its_verdict_depends_on(folder, intel_case):
    case = intel_case()
    recording = Recording.load(folder)
    assert (recording.at, recording.binding, recording.expectations) == (case.at, BOUND, None)
    assert recording.evidence == case.evidence
    assert recording.outcome.to_dict() == {"authentic": True, "accepted": True, "status": "UpToDate", "error": None,
                                           "failed": []}
    assert recording.replay().accepted
    assert recording.replay(case.at - 1000).authentic is False


def test_a_recording_of_refused_evidence_keeps_the_reason(tmp_path, intel_case):
    case = intel_case().says(td_attributes=b"\x01" + bytes(7))
    recording = save(tmp_path / "it", files(case), tee=Tee.TDX, at=case.at, binding=BOUND)
    assert recording.outcome.failed == ("tdx.accept.td_debug", "tdx.accept.sept_ve_disable_not_set")
    allowed = save(tmp_path / "allowed", files(case), tee=Tee.TDX, at=case.at, binding=BOUND,
                   expect={"allowed_flags": ["TD_DEBUG", "SEPT_VE_DISABLE_NOT_SET"]})
    assert allowed.outcome.accepted
    undecided = save(tmp_path / "undecided", {"quote.bin": case.raw, "roots.pem": case.maker.chain("root")},
                     tee=Tee.TDX, at=case.at, binding=BOUND)
    assert (undecided.outcome.authentic, undecided.outcome.error) == (None, "collateral.intel")


def test_replaying_tells_the_same_or_what_differs(folder, intel_at):
    assert (replay_folder(folder).exit_code, replay_folder(folder).told) == (0, "accepted UpToDate")
    later = replay_folder(folder, intel_at + 400 * 24 * 3600)
    assert (later.exit_code, later.compared, later.to_dict()["same"]) == (0, False, None)
    assert later.told == "refused tdx.root_ca_crl.validity"
    quote = folder / "quote.bin"
    quote.write_bytes(quote.read_bytes()[:-1] + b"x")
    changed = replay_folder(folder)
    assert (changed.exit_code, changed.to_dict()["same"]) == (1, False)
    assert "recorded accepted UpToDate, now refused" in changed.told


@pytest.mark.parametrize("verdict", [
    {"authentic": False}, {"accepted": False}, {"status": "OutOfDate"}, {"status": None},
    {"error": "tdx.quote.signature"}, {"failed": ["tdx.accept.status"]}, {"authentic": None},
    {"accepted": "yes"}, {"authentic": 1.5},
])
def test_each_part_of_the_recorded_verdict_is_compared(folder, verdict):
    told = json.loads((folder / "recording.json").read_text())["verdict"]
    assert replay_folder(rewritten(folder, verdict=told | verdict)).exit_code == 1


@pytest.mark.parametrize("changes", [
    {"format": "attestkit-recording/2"}, {"format": ...}, {"tee": "vax"}, {"tee": None}, {"tee": []}, {"at": "now"},
    {"at": 1.5}, {"at": True}, {"at": None}, {"at": ...}, {"extra": 1}, {"binding": None}, {"binding": []},
    {"binding": {}}, {"binding": {"report_data": None}}, {"binding": {"report_data": "zz", "init_data": None}},
    {"binding": {"report_data": 5, "init_data": None}}, {"verdict": None}, {"verdict": {}}, {"verdict": []},
    {"verdict": {"authentic": True, "accepted": True, "status": None, "error": None, "failed": 5}},
])
def test_a_description_with_missing_or_mistyped_members_is_refused(folder, changes):
    assert refusal(rewritten(folder, **changes)) == "recording.json"


@pytest.mark.parametrize("expect", [[], "x", 5, True, ["mr_td"], {"mrtd": "00"}, {"mr_td": "00"},
                                    {"accepted_statuses": ["Revoked"]}, {"minimum_reported_tcb": ""}])
def test_a_description_with_unreadable_expectations_is_refused(folder, expect):
    assert refusal(rewritten(folder, expect=expect)).startswith("expect.")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"at":1,"at":2}', b"\xff", b'{"format":NaN}',
                                  b"[" * 10**5], ids=range(8))
def test_a_description_that_is_not_strict_json_is_refused(folder, text):
    (folder / "recording.json").write_bytes(text)
    assert refusal(folder) == "recording.json"


@pytest.mark.parametrize("at", [-(10**30), -1, 0, 10**30])
def test_any_moment_can_be_replayed(folder, at):
    replay = replay_folder(rewritten(folder, at=at))
    assert (replay.exit_code, replay.now.error) == (1, "tdx.pck_chain.root.validity")


def test_there_is_exactly_one_piece_of_evidence(folder):
    (folder / "quote.bin").rename(folder / "quote.txt")
    assert refusal(folder) == "folder.evidence"
    for name in ("evidence.bin", "evidence.json"):
        shutil.copy(folder / "quote.txt", folder / name)
    assert refusal(folder) == "folder.evidence"


def test_evidence_may_be_json(folder, intel_case):
    (folder / "quote.bin").unlink()
    (folder / "evidence.json").write_text(json.dumps(evidence_to_json(intel_case().evidence)))
    assert replay_folder(folder).exit_code == 0


def test_roots_that_cannot_be_read_are_refused(folder):
    (folder / "roots.pem").write_bytes(b"junk")
    assert refusal(folder, CollateralError) == "collateral.certificate"


def tpm_files(machine: SmallTpm, roots: dict[str, bytes]) -> dict[str, bytes]:
    return {"evidence.json": json.dumps(evidence_to_json(machine.evidence(bytes(64), b""))).encode(),
            **machine.collateral_files(), **{f"roots/{name}": data for name, data in roots.items()}}


def test_roots_may_be_many_and_of_any_kind(tmp_path):
    machine = SmallTpm(KeyRing(b"a machine with a TPM"), AT, 3600)
    kept = save(tmp_path / "it", tpm_files(machine, machine.roots()), tee=Tee.TPM, at=AT + 60,
                binding=Binding(bytes(64), None))
    assert kept.outcome.accepted
    shutil.rmtree(tmp_path / "it" / "roots")
    assert replay_folder(tmp_path / "it").now.error == "tpm.chain.root"


def test_what_a_recording_trusts_by_name_is_never_hardware(tmp_path):
    """A folder that somebody hands over could otherwise make hardware of a key of its own."""
    machine = SmallTpm(KeyRing(b"a machine with a TPM"), AT, 3600)
    key = load_der_public_key(machine.ak.key.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    kept = save(tmp_path / "it", tpm_files(machine, {"ak.pem": key}), tee=Tee.TPM, at=AT + 60,
                binding=Binding(bytes(64), None))
    verdict = kept.replay()
    assert (verdict.accepted, verdict.claims.software) == (True, True)
    (tmp_path / "it" / "roots").rename(tmp_path / "it" / "provisioned")
    assert Recording.load(tmp_path / "it").roots.keys == ()


def test_too_many_roots_are_refused(folder):
    (folder / "roots").mkdir()
    for number in range(MAX_ROOTS + 1):
        (folder / "roots" / f"{number}.pem").write_bytes((folder / "roots.pem").read_bytes())
    assert refusal(folder) == "recording.roots"
    (folder / "roots" / "0.pem").unlink()
    assert replay_folder(folder).exit_code == 0


def test_loose_evidence_has_no_moment_and_no_verdict(folder, intel_case):
    (folder / "recording.json").unlink()
    recording = Recording.load(folder)
    assert (recording.at, recording.outcome, recording.evidence) == (None, None, intel_case().evidence)
    with pytest.raises(SetupError) as caught:
        recording.replay()
    assert caught.value.id == "recording.at"
    assert replay_folder(folder).exit_code == 2


def test_loose_evidence_brings_no_roots_of_its_own(folder, intel_case):
    """A folder that somebody hands over could otherwise vouch for itself."""
    (folder / "recording.json").unlink()
    verdict = Recording.load(folder).replay(intel_case().at)
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.pck_chain.root")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, intel_case):
    case = intel_case()
    (tmp_path / "there").mkdir()
    with pytest.raises(SetupError) as caught:
        save(tmp_path / "there", files(case), tee=Tee.TDX, at=case.at, binding=BOUND)
    assert caught.value.id == "recording.exists"
    for contents in ({}, {"quote.bin": b"", "evidence.bin": b""}, files(case) | {"roots.pem": b"junk"}):
        with pytest.raises(VerifierError):
            save(tmp_path / "new", contents, tee=Tee.TDX, at=case.at, binding=BOUND)
        assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_what_is_no_regular_file_is_refused(folder):
    (folder / "recording.json").unlink()
    os.mkfifo(folder / "recording.json")
    assert refusal(folder) == "files.kind"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("00" * 64),
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
                        st.sampled_from(["report_data", "init_data", "authentic", "failed", "mr_td"]), inner,
                        max_size=3), max_leaves=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["format", "tee", "at", "binding", "expect", "verdict"]), JSON)
def test_any_member_is_read_or_refused(folder, member, value):
    original = (folder / "recording.json").read_text()
    try:
        replay = replay_folder(rewritten(folder, **{member: value}))
        assert replay.exit_code in (0, 1, 2)
        json.dumps(replay.to_dict())
    finally:
        (folder / "recording.json").write_text(original)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_a_description_or_refused(folder, data):
    original = (folder / "recording.json").read_bytes()
    try:
        (folder / "recording.json").write_bytes(data)
        assert replay_folder(folder).exit_code == 2
    finally:
        (folder / "recording.json").write_bytes(original)
