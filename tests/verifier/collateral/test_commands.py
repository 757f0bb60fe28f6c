"""``verifier collateral``: one JSON document on stdout where asked, talk on stderr, an exit status that tells."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner, Result

from verifier.cli import Moment
from verifier.collateral.commands import collateral_commands
from verifier.collateral.files import load, read_bounded
from verifier.formats import coco_evidence
from verifier.software_tee.intel_levels import LEVELS
from verifier.testing import faults
from verifier.verify import verify

AT = 1_780_000_000
NOW = AT + 10
DAY = 86_400


@pytest.fixture
def site(world, tmp_path):
    """Files that arguments name."""
    (tmp_path / "roots.pem").write_bytes(world.intel.chain("root") + world.amd.chain("ark"))
    (tmp_path / "quote.bin").write_bytes(world.tdx().quote)
    (tmp_path / "report.bin").write_bytes(world.snp().quote)
    told = world.sources()
    (tmp_path / "sources.json").write_text(json.dumps({
        name: getattr(told, name) for name in ("pcs", "root_crl", "kds", "rim", "ocsp")} | {
        "limits": {"attempts": 1, "total": 3, "backoff": 0.01}}))
    return tmp_path


@pytest.fixture
def run(site, monkeypatch):
    for name in ("HTTPS_PROXY", "ATTESTKIT_COLLATERAL"):
        monkeypatch.delenv(name, raising=False)
    group = collateral_commands(lambda path: coco_evidence.read(read_bounded(path)), Moment())
    fetching = ("fetch", "forecast")

    def call(command: str, *arguments: object, cache: str = "cache", at: int = NOW, json_too: bool = False) -> Result:
        given = ["--cache", site / cache, "--roots", site / "roots.pem", "--at", at]
        given += ["--sources", site / "sources.json"] if command in fetching else []
        given += ["--json"] if json_too else []
        result = CliRunner().invoke(group, [command, *map(str, [*arguments, *given])])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return call


def test_what_evidence_needs_is_fetched_shown_and_kept(run, site, world):
    result = run("fetch", site / "quote.bin", site / "report.bin")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Intel SGX TCB Signing 18 2026-05-28T20:26:40Z 2027-05-28T20:26:40Z 364 days" in " ".join(
        result.stdout.split())
    world.service.forget()
    shown = run("show", json_too=True)
    rows = {row["object"]: row for row in json.loads(shown.stdout)}
    assert (shown.exit_code, len(rows)) == (0, 7)
    assert rows["amd.crl/Milan"]["number"] == 1
    assert all(row["good"] for row in rows.values())
    assert world.service.count() == 0


def test_what_ends_first_stands_on_top(run, site, world):
    world.serve_intel(pck_crl=lambda c: replace(c, next_update=AT + 5 * DAY))
    lines = run("fetch", site / "quote.bin").stdout.splitlines()
    assert lines[0].split()[:3] == ["object", "issuer", "number"]
    assert lines[1].startswith("intel.pck_crl/platform")
    assert "4 days" in lines[1]


def test_what_was_fetched_into_a_folder_is_what_the_verifier_reads(run, site, world):
    assert run("fetch", site / "quote.bin", site / "report.bin", "--out", site / "out").exit_code == 0
    from verifier.evidence import Binding
    for evidence in (world.tdx(), world.snp()):
        verdict = verify(evidence, collateral=load([site / "out"]), roots=world.roots, at=NOW,
                         binding=Binding.insecure_unbound())
        assert verdict.accepted, verdict.error


def test_a_family_is_fetched_by_its_number(run, site, world):
    result = run("fetch", "--fmspc", "00534f465400", "--tee", "tdx")
    assert result.exit_code == 0
    assert world.service.count("/sgx/certification/v4/pckcrl") == 2
    assert run("fetch", "--fmspc", "00534F465400", "--tee", "sgx", "--ca", "platform", "--out",
               site / "quote.bin" / "x").exit_code == 2


@pytest.mark.parametrize("arguments", [(), ("--fmspc", "00"), ("--fmspc", "zz" * 6),
                                       ("--fmspc", "00534f465400", "--out", "x"), ("--update", "late", "--fmspc",
                                                                                   "00534f465400")])
def test_wrong_calls_end_with_two(run, arguments):
    assert run("fetch", *arguments).exit_code == 2


def test_what_cannot_be_had_ends_with_two_and_says_why(run, site, world):
    world.service.break_("/tdx/certification/v4/tcb", faults.failing(404))
    result = run("fetch", site / "quote.bin")
    assert result.exit_code == 2
    assert "error: collateral.fetch.not_found" in result.stderr


def test_what_is_not_genuine_ends_with_one(run, site, world):
    world.service.break_("/tdx/certification/v4/tcb", faults.forged())
    result = run("fetch", site / "quote.bin")
    assert result.exit_code == 1
    assert "collateral.tcb_info.signature" in result.stderr


def test_across_an_air_gap(run, site, world):
    assert run("fetch", site / "quote.bin", site / "report.bin").exit_code == 0
    bundle = site / "site.attestkit-collateral"
    assert run("export", bundle).exit_code == 0
    world.service.forget()
    shown = run("show", bundle, cache="none", json_too=True)
    assert (shown.exit_code, len(json.loads(shown.stdout))) == (0, 7)
    assert run("import", bundle, cache="other").exit_code == 0
    only = site / "only.attestkit-collateral"
    assert run("export", only, "--for", site / "quote.bin", cache="other").exit_code == 0
    assert len(json.loads(only.read_bytes())["items"]) == 4
    assert run("export", only, "--for", site / "quote.bin", cache="empty").exit_code == 2
    assert world.service.count() == 0


def test_an_import_says_what_it_refuses(run, site, world):
    assert run("fetch", site / "quote.bin").exit_code == 0
    bundle = site / "old.attestkit-collateral"
    run("export", bundle)
    world.serve_intel(tcb_info=lambda d: replace(d, evaluation_number=19))
    run("fetch", site / "quote.bin", cache="other")
    result = run("import", bundle, cache="other")
    assert result.exit_code == 1
    assert "refused  intel.tcb_info/tdx/00534f465400/standard  collateral.rollback" in result.stdout
    (site / "junk").write_bytes(b"{}")
    assert run("import", site / "junk").exit_code == 2


def test_floors_are_told_and_taken_over_only_when_asked(run, site):
    run("fetch", site / "quote.bin")
    bundle = site / "x.attestkit-collateral"
    run("export", bundle)
    members = json.loads(bundle.read_bytes())
    members["floors"] = {name: floor | {"number": 50} for name, floor in members["floors"].items()}
    bundle.write_text(json.dumps(members))
    numbers = []
    for arguments in ([], ["--floors"]):
        run("import", bundle, *arguments, cache="other")
        told = json.loads(run("floors", cache="other", json_too=True).stdout)
        numbers.append({floor["number"] for floor in told["floors"].values()})
    assert numbers[0] <= {1, 18}
    assert numbers[1] == {50}
    assert "number 50" in run("floors", cache="other").stdout


def test_expired_objects_are_shown_as_refused(run, site):
    run("fetch", site / "quote.bin")
    result = run("show", at=AT + 400 * DAY)
    assert result.exit_code == 1
    assert "refused  intel.tcb_info" in result.stdout


def test_nothing_is_no_error(run):
    result = run("show", cache="none")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no collateral at hand\n")


# -- forecast ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def early(world):
    behind = replace(LEVELS[0], status="OutOfDate", advisories=("INTEL-SA-09999",))
    made = world.intel.altered(tcb_info=lambda d: replace(
        d, evaluation_number=19, levels=(behind, *LEVELS[1:]) if d.id == "TDX" else d.levels))
    world.serve(early=made)
    return made


def test_a_forecast_fetches_both_sets_and_names_what_stops(run, site, early, world):
    result = run("forecast", site / "quote.bin")
    assert result.exit_code == 1
    assert "STOPS" in result.stdout
    assert "UpToDate (18) -> OutOfDate (19)" in result.stdout
    assert "new advisories: INTEL-SA-09999" in result.stdout
    assert "1 judged, 1 would stop passing" in result.stdout
    allowed = run("forecast", site / "quote.bin", "--allow", "UpToDate", "--allow", "OutOfDate", json_too=True)
    assert allowed.exit_code == 0
    assert json.loads(allowed.stdout)[0]["next"]["evaluation_number"] == 19


def test_a_forecast_from_files_fetches_nothing(run, site, early, world):
    run("fetch", site / "quote.bin", "--out", site / "now")
    run("fetch", site / "quote.bin", "--update", "early", "--out", site / "later")
    world.service.forget()
    result = run("forecast", site / "quote.bin", "--collateral", site / "now", "--next", site / "later")
    assert result.exit_code == 1
    assert world.service.count() == 0


def test_a_forecast_that_cannot_be_made_ends_with_two(run, site, early, world):
    world.service.break_("/tdx/certification/v4/qe", faults.failing(404))
    assert run("forecast", site / "quote.bin").exit_code == 2
    assert run("forecast", site / "report.bin").exit_code == 2


def test_every_command_explains_itself():
    group = collateral_commands(lambda path: coco_evidence.read(read_bounded(path)), Moment())
    assert isinstance(group, click.Group)
    for name in ("fetch", "show", "export", "import", "floors", "forecast"):
        assert CliRunner().invoke(group, [name, "--help"]).exit_code == 0
