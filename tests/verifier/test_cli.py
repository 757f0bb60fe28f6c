"""The command: exactly one JSON document on stdout, an exit status that tells, and no traceback for any file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from verifier import Binding, Tee
from verifier.cli import main
from verifier.endorsements.window import rfc3339
from verifier.formats.coco_evidence import evidence_to_json
from verifier.recording import save
from verifier.software_tee.intel import collateral_json

MEMBERS = ["authentic", "accepted", "tee", "status", "advisory_ids", "flags", "claims", "valid_until", "checks",
           "error"]
BOUND = bytes(range(64))
# Other makers' certificates have names that the X.509 library remarks upon.
odd_certificates = pytest.mark.filterwarnings("ignore::UserWarning")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def judged(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit status and document of ``verifier verify --json``; stdout holds nothing else."""
    result = run("verify", *arguments, "--json")
    told = json.loads(result.stdout)
    assert list(told) == MEMBERS
    assert {0: told["accepted"], 1: not told["accepted"] and told["authentic"] is not None,
            2: told["authentic"] is None}[result.exit_code], (result.exit_code, told)
    assert all(list(check) == ["id", "ok", "expected", "got", "detail"] for check in told["checks"])
    assert told["error"] is None or list(told["error"]) == ["id", "detail"]
    return result.exit_code, told


@pytest.fixture
def case(intel_case):
    return intel_case("tdx-v5-td15").says(report_data=BOUND)


@pytest.fixture
def files(tmp_path, case) -> Callable[..., list[object]]:
    """Arguments under which the small Intel's quote is accepted; each may be replaced by name, None leaves it out."""
    told = {"quote": case.raw, "collateral.json": json.dumps(collateral_json(case.maker.collateral("tdx"))).encode(),
            "root.pem": case.maker.chain("root")}
    for name, data in told.items():
        (tmp_path / name).write_bytes(data)

    def arguments(**changes: object) -> list[object]:
        given = {"path": tmp_path / "quote", "collateral": tmp_path / "collateral.json", "roots": tmp_path / "root.pem",
                 "at": case.at, "report-data": BOUND.hex()} | {name.replace("_", "-"): v for name, v in changes.items()}
        path = given.pop("path")
        return [path, *(word for name, value in given.items() if value is not None for word in (f"--{name}", value))]
    return arguments


@pytest.mark.parametrize("years", [-30, 30])
def test_people_are_told_dates_and_programs_seconds(files, case, years):
    at = case.at + years * 365 * 86_400
    result = run("verify", *files(at=at))
    assert result.exit_code == 1
    assert f"got      {rfc3339(at)}" in result.stdout
    assert str(at) not in result.stdout
    assert judged(*files(at=at))[1]["checks"][-1]["got"] == at


def test_accepted_evidence(files, case):
    code, told = judged(*files())
    assert (code, told["authentic"], told["accepted"]) == (0, True, True)
    assert (told["tee"], told["status"]) == ("tdx", "UpToDate")
    assert (told["advisory_ids"], told["flags"], told["error"]) == ([], [], None)
    assert told["claims"]["mr_td"] == case.body.mr_td.hex()
    assert told["claims"]["report_data"] == BOUND.hex()
    assert told["claims"]["software"] is True
    assert told["valid_until"] == "2027-05-28T20:26:39Z"
    assert "tdx.quote.signature" in [check["id"] for check in told["checks"]]
    assert all(check["ok"] for check in told["checks"])


@pytest.mark.parametrize(("changes", "code", "authentic", "reason"), [
    ({"report_data": bytes(64).hex()}, 1, True, "tdx.binding.report_data"),
    ({"report_data": ""}, 1, True, "tdx.binding.report_data"),
    ({"report_data": BOUND.hex()[:-2]}, 1, True, "tdx.binding.report_data"),
    ({"init_data": "01" * 48}, 1, True, "tdx.binding.init_data"),
    ({"roots": None}, 1, False, "tdx.pck_chain.root"),
    ({"at": 1}, 1, False, "tdx.pck_chain.root.validity"),
    ({"at": "2040-01-01T00:00:00Z"}, 1, False, "tdx.root_ca_crl.validity"),
    ({"tee": "sgx"}, 1, False, "sgx.quote.tee"),
    ({"collateral": None}, 2, None, "collateral.intel"),
])
def test_what_is_not_right_is_told_by_status_and_reason(files, changes, code, authentic, reason):
    found, told = judged(*files(**changes))
    failed = [check["id"] for check in told["checks"] if not check["ok"]]
    assert (found, told["authentic"]) == (code, authentic)
    assert reason in [*failed, told["error"] and told["error"]["id"]]


def test_without_report_data_nothing_is_demanded_of_it(files):
    assert judged(*files(report_data=None))[0] == 0


def test_init_data_of_the_right_value(files):
    assert judged(*files(init_data=bytes(48).hex()))[0] == 0


def test_offline_or_not_it_says_what_cannot_be_decided(files):
    for more in ([], ["--offline"]):
        code, told = judged(*files(collateral=None), *more)
        assert (code, told["error"]["id"]) == (2, "collateral.intel")
        assert told["claims"]["unverified"]["report_data"] == BOUND.hex()


@pytest.mark.parametrize("at", ["1780000010", "2026-05-28T20:26:50Z", "2026-05-28T22:26:50+02:00",
                                "2026-05-28T20:26:50.999Z", "2026-05-28 20:26:50Z", "2026-05-28T20:26:50z"])
def test_moments_as_people_write_them(files, at):
    assert judged(*files(at=at))[0] == 0


@pytest.mark.parametrize("at", [
    "", "now", "2026-05-28", "2026-05-28T20:26:50", "1e9", "-1", " 1780000010", "1780000010.5", "0x5",
    "2026-02-30T00:00:00Z", "9999999999999", "\uff11\uff12", "2026-05-28T25:00:00Z", "20260528T202650Z",
    "2026-W22-4T20:26:50Z", "2026-05-28T20:26Z", "2026-05-28T20:26:50Z\n", "2026-05-28T20:26:60Z",
    "2026-05-28T20:26:50+02", "10000-01-01T00:00:00Z",
])
def test_other_moments_are_a_wrong_call(files, at):
    result = run("verify", *files(at=at), "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--at" in result.stderr


@pytest.mark.parametrize("changes", [{"report_data": "zz"}, {"report_data": "0"}, {"report_data": " 00"},
                                     {"init_data": "0x00"}, {"tee": "vax"}, {"path": "nowhere"},
                                     {"collateral": "nowhere"}, {"roots": "nowhere"}, {"expect": "nowhere"}])
def test_a_wrong_call_says_so_on_stderr_and_nothing_on_stdout(files, changes):
    result = run("verify", *files(**changes), "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_moments_at_the_ends_of_the_calendar(files):
    for at in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"):
        assert judged(*files(at=at))[0] == 1


@pytest.mark.parametrize(("expect", "code", "failed"), [
    ('mr_td = "{mr_td}"', 0, []), ('{{"mr_td": ["{mr_td}"]}}', 0, []), ('mr_td = []', 1, ["tdx.expect.mr_td"]),
    ('accepted_statuses = ["OutOfDate"]', 1, ["tdx.accept.status"]), ("refuse_software = true", 1, [
        "tdx.accept.hardware"]),
    ('mr_td = "{zero}"\nrtmr0 = "{zero}"', 1, ["tdx.expect.mr_td", "tdx.expect.rtmr0"]),
])
def test_expectations_from_a_file(files, case, tmp_path, expect, code, failed):
    (tmp_path / "expect").write_text(expect.format(mr_td=case.body.mr_td.hex(), zero="00" * 48))
    found, told = judged(*files(expect=tmp_path / "expect"))
    assert (found, [check["id"] for check in told["checks"] if not check["ok"]]) == (code, failed)


@pytest.mark.parametrize(("expect", "reason"), [
    ("mrtd = 1", "expect.unknown"), ('accepted_statuses = "Revoked"', "expect.accepted_statuses"), ("{", "expect.file"),
    ('minimum_reported_tcb = ""', "expect.minimum_reported_tcb"), ("mr_td = 0x" + "f" * 5000, "expect.mr_td"),
])
def test_expectations_that_cannot_be_read_are_a_fault_of_the_call(files, tmp_path, expect, reason):
    (tmp_path / "expect").write_text(expect)
    code, told = judged(*files(expect=tmp_path / "expect"))
    assert (code, told["authentic"], told["error"]["id"]) == (2, None, reason)


def test_evidence_json_and_raw_evidence_are_the_same(files, case, tmp_path):
    (tmp_path / "evidence.json").write_text(json.dumps(evidence_to_json(case.evidence)))
    assert judged(*files(path=tmp_path / "evidence.json")) == judged(*files())


def test_collateral_may_be_a_folder_or_several_files(files, case, tmp_path):
    folder = tmp_path / "loose"
    folder.mkdir()
    members = case.maker.collateral("tdx")
    told = collateral_json(members)
    for name in told:
        (folder / f"{name}.json").write_text(json.dumps({name: told[name]}))
    assert judged(*files(collateral=folder))[0] == 0
    several = [word for name in told for word in ("--collateral", folder / f"{name}.json")]
    assert judged(*files(collateral=None), *several)[0] == 0


@pytest.fixture
def recording(case, files, tmp_path) -> Path:
    contents = {"quote.bin": case.raw, "roots.pem": case.maker.chain("root"),
                "collateral.json": (tmp_path / "collateral.json").read_bytes()}
    save(tmp_path / "recording", contents, tee=Tee.TDX, at=case.at, binding=Binding(BOUND, bytes(48)))
    return tmp_path / "recording"


def test_a_recording_brings_what_the_call_leaves_open(recording):
    assert judged(recording)[0] == 0
    code, told = judged(recording, "--at", "2040-01-01T00:00:00Z")
    assert (code, told["error"]["id"]) == (1, "tdx.root_ca_crl.validity")


@pytest.mark.parametrize(("option", "value", "failed"), [
    ("--report-data", "00" * 64, ["tdx.binding.report_data"]), ("--init-data", "01" * 48, ["tdx.binding.init_data"]),
])
def test_a_call_replaces_what_it_names_and_no_more(recording, option, value, failed):
    """One binding given on the command line does not switch the other one off."""
    code, told = judged(recording, option, value)
    assert (code, [check["id"] for check in told["checks"] if not check["ok"]]) == (1, failed)
    bound = [check["id"] for check in told["checks"] if ".binding." in check["id"]]
    assert bound == ["tdx.binding.report_data", "tdx.binding.init_data"]


def test_replay_says_same_or_differs(recording, tmp_path):
    result = run("replay", recording, "--json")
    assert (result.exit_code, [row["same"] for row in json.loads(result.stdout)]) == (0, [True])
    assert "all as recorded" in run("replay", recording).stdout
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in recording.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / "quote.bin").write_bytes((recording / "quote.bin").read_bytes()[:700])
    result = run("replay", recording, changed, "--json")
    assert (result.exit_code, [row["same"] for row in json.loads(result.stdout)]) == (1, [True, False])
    assert "1 differ" in run("replay", recording, changed).stdout
    assert run("replay", recording, "--at", "2040-01-01T00:00:00Z").exit_code == 0
    assert run("replay", tmp_path).exit_code == 2
    assert run("replay").exit_code == 2


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td15", "sgx-v3"])
def test_show_tells_the_fields_and_says_that_nobody_proved_them(intel_case, tmp_path, kind):
    case = intel_case(kind)
    (tmp_path / "quote").write_bytes(case.raw)
    result = run("show", tmp_path / "quote", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, list(told), told["tee"]) == (0, ["tee", "unverified"], case.tee)
    assert told["unverified"]["report_data"] == "00" * 64
    assert run("show", tmp_path / "quote").stdout.startswith(f"unverified {case.tee} evidence\n")


def test_people_are_told_the_reason(files):
    accepted = run("verify", *files()).stdout
    assert accepted.startswith("ACCEPTED  tdx  authentic  UpToDate  software roots, not hardware")
    refused = run("verify", *files(report_data=bytes(64).hex())).stdout
    assert refused.startswith("REJECTED  tdx  authentic")
    assert "FAIL tdx.binding.report_data" in refused
    open_ = run("verify", *files(collateral=None)).stdout
    assert open_.startswith("UNDECIDED  tdx  authenticity not decided\n  collateral.intel:")
    explained = run("verify", *files(collateral=None), "--explain").stdout
    assert "ok   tdx.quote.signature" in explained
    assert "unverified: what the evidence says of itself" in explained


# -- whatever is in the way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"# README\n", b"{}", b"[]", b"{", b'{"quote":5}', b'{"quote":"\\ud800"}',
                                  bytes(100), b"\xff" * 9000, b'{"svn":"1","report_data":""}', b"{" * 9000,
                                  b'{"attestation_report":{}}'], ids=range(12))
@pytest.mark.parametrize("tee", [[], ["--tee", "tdx"], ["--tee", "sgx"], ["--tee", "snp"], ["--tee", "sample"]])
def test_files_that_are_no_evidence_are_never_accepted(tmp_path, data, tee):
    (tmp_path / "file").write_bytes(data)
    assert judged(tmp_path / "file", *tee)[0] in (1, 2)
    result = run("show", tmp_path / "file", *tee, "--json")
    assert result.exit_code in (0, 2)
    assert bool(result.stdout) is (result.exit_code == 0)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        code, told = judged(path)
        assert (code, told["authentic"], told["error"]["id"]) == (2, None, "files.kind")
        result = run("show", path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: files.kind")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    code, told = judged(tmp_path / "big")
    assert (code, told["error"]["id"]) == (2, "files.size")


def test_a_folder_without_evidence_cannot_be_decided(tmp_path):
    code, told = judged(tmp_path)
    assert (code, told["error"]["id"]) == (2, "folder.evidence")


CARRY_THEIR_ENDORSEMENTS = ("snp", "az-snp-vtpm", "tpm", "nvidia")


@odd_certificates
def test_no_recorded_file_of_any_kind_makes_a_traceback(corpus):
    """Quotes, reports, certificates, revocation lists, JSON, notes: told or refused, one document each time."""
    paths = sorted(path for path in corpus.root.rglob("*") if path.is_file())
    assert len(paths) > 300
    for path in paths:
        _, told = judged(path, "--at", "1780000000", "--offline")
        assert told["authentic"] is not True or told["tee"] in CARRY_THEIR_ENDORSEMENTS, path
        shown = run("show", path, "--json")
        assert shown.exit_code in (0, 2), path
        if shown.exit_code == 0:
            json.loads(shown.stdout)


@odd_certificates
def test_no_recorded_folder_makes_a_traceback(corpus):
    for folder in sorted({path.parent for path in corpus.root.rglob("*") if path.is_file()}):
        judged(folder, "--at", "1780000000")
        assert run("replay", folder).exit_code == 2


CARRY_THEIR_ENDORSEMENTS = ("snp", "az-snp-vtpm", "tpm", "nvidia")


@odd_certificates
def test_no_recorded_file_as_collateral_roots_or_expectations_makes_a_traceback(corpus, tmp_path, case):
    (tmp_path / "quote").write_bytes(case.raw)
    for path in sorted(path for path in corpus.root.rglob("*") if path.is_file())[::4]:
        for option in ("--collateral", "--roots", "--expect"):
            assert judged(tmp_path / "quote", option, path, "--at", case.at)[0] in (1, 2), (option, path)


# -- as a process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "code"), [({}, 0), ({"report_data": "00" * 64}, 1), ({"collateral": None}, 2)])
def test_the_installed_command_leaves_with_the_status(files, changes, code):
    """Only the document on stdout, nothing at all on stderr."""
    command = [sys.executable, "-c", "from verifier.cli import main; main()", "verify", *map(str, files(**changes))]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert json.loads(done.stdout)["accepted"] is (code == 0)


def test_a_killed_command_does_not_leave_with_acceptance(files):
    code = "import os, signal, verifier.verify as v\nv.appraise = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run([sys.executable, "-c", code + "from verifier.cli import main; main()", "verify",
                           *map(str, files())], capture_output=True, check=False)
    assert done.returncode not in (0, 1, 2)
