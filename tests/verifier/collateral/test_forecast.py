"""The same quote under today's and the next evaluation set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.collateral.files import load
from verifier.collateral.forecast import forecast
from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.software_tee.intel_levels import LEVELS, QE_LEVELS

AT = 1_780_000_000
NOW = AT + 10


def collateral(maker, tee: str = "tdx") -> Collateral:
    return Collateral(intel=IntelCollateral(**maker.collateral(tee)))


def next_of(world, **changes):
    """The next set: newer numbers, and whatever else ``changes`` say of the documents."""
    return world.intel.altered(tcb_info=lambda d: replace(d, evaluation_number=19, **changes.get("tcb_info", {})),
                               qe_identity=lambda d: replace(d, evaluation_number=19, **changes.get("qe_identity", {})))


def test_a_platform_that_falls_behind_is_told_with_level_and_advisory(world):
    behind = replace(LEVELS[0], status="OutOfDate", advisories=("INTEL-SA-09999",))
    found = forecast(world.tdx(), collateral(world.intel), collateral(next_of(world, tcb_info={
        "levels": (behind, *LEVELS[1:])})), world.roots, NOW)
    assert (found.now.status, found.next.status, found.stops_passing) == ("UpToDate", "OutOfDate", True)
    assert found.new_advisories == ("INTEL-SA-09999",)
    assert [(now.component, now.status, later.status) for now, later in found.worsened] == [
        ("platform", "UpToDate", "OutOfDate")]
    assert (found.now.number, found.next.number) == (18, 19)
    assert found.fmspc == world.intel.platform.fmspc
    assert found.to_dict()["stops_passing"] is True


def test_a_quoting_enclave_that_falls_behind_is_told_as_such(world):
    behind = replace(QE_LEVELS[0], status="OutOfDate", advisories=("INTEL-SA-09998",))
    found = forecast(world.tdx(), collateral(world.intel), collateral(next_of(world, qe_identity={
        "levels": (behind, *QE_LEVELS[1:])})), world.roots, NOW)
    assert found.stops_passing
    assert [now.component for now, _ in found.worsened] == ["qe"]


def test_a_platform_that_reaches_no_level_any_more_stops_passing(world):
    higher = replace(LEVELS[0], pce_svn=99)
    found = forecast(world.tdx(), collateral(world.intel), collateral(next_of(world, tcb_info={"levels": (higher,)})),
                     world.roots, NOW)
    assert (found.next.status, found.stops_passing, found.decided) == ("NotSupported", True, True)
    assert found.next.error.id == "tdx.tcb.level"


def test_what_stays_as_it_is_passes(world):
    found = forecast(world.tdx(), collateral(world.intel), collateral(next_of(world)), world.roots, NOW)
    assert (found.passes_now, found.passes_next, found.stops_passing) == (True, True, False)
    assert found.worsened == found.new_advisories == ()


def test_which_statuses_pass_is_the_callers(world):
    behind = replace(LEVELS[0], status="OutOfDate")
    later = collateral(next_of(world, tcb_info={"levels": (behind, *LEVELS[1:])}))
    found = forecast(world.tdx(), collateral(world.intel), later, world.roots, NOW, passing={"UpToDate", "OutOfDate"})
    assert not found.stops_passing


def test_without_collateral_nothing_is_decided_and_nothing_passes(world):
    found = forecast(world.tdx(), collateral(world.intel), Collateral.none(), world.roots, NOW)
    assert (found.decided, found.passes_next) == (False, False)
    assert found.next.error.id == "collateral.intel"


def test_a_forged_quote_passes_under_no_set(world):
    quote = bytearray(world.tdx().quote)
    quote[200] ^= 1
    found = forecast(Evidence(Tee.TDX, bytes(quote)), collateral(world.intel), collateral(next_of(world)), world.roots,
                     NOW)
    assert (found.passes_now, found.passes_next) == (False, False)


def test_amd_publishes_no_sets_ahead(world):
    with pytest.raises(SetupError) as caught:
        forecast(world.snp(), Collateral.none(), Collateral.none(), world.roots, NOW)
    assert caught.value.id == "forecast.tee"


def recorded(corpus, name: str, now: str, later: str):
    case, folder = corpus.case(name), corpus.folder(name)
    moments = {row["collateral"]: row["at"] for row in case["appraisals"]}
    evidence = Evidence(Tee(case["tee"]), (folder / "quote.bin").read_bytes())
    return forecast(evidence, load([folder / now]), load([folder / later]), Roots.makers(), moments[now],
                    next_at=moments[later])


def test_recorded_a_server_that_fell_behind_with_number_17(corpus):
    found = recorded(corpus, "sgx/automata-eval16-vs-17", "collateral.json", "collateral-2.json")
    assert (found.now.number, found.next.number, found.next.qe_number) == (16, 17, 16)
    assert (found.now.status, found.next.status) == ("SWHardeningNeeded", "OutOfDate")
    assert found.stops_passing
    assert found.new_advisories == ("INTEL-SA-00960", "INTEL-SA-00657", "INTEL-SA-00767")


def test_recorded_a_client_that_gained_an_advisory(corpus):
    found = recorded(corpus, "sgx/mobilecoin-00906ed", "collateral.json", "collateral-2.json")
    assert (found.now.number, found.next.number) == (17, 19)
    assert (found.now.status, found.next.status, found.stops_passing) == ("OutOfDate", "OutOfDate", False)
    assert found.new_advisories == ("INTEL-SA-01153",)


@pytest.mark.parametrize(("now", "later"), [("collateral.json", "collateral-2.json"),
                                            ("collateral-2.json", "collateral-3.json")])
def test_recorded_a_td_whose_status_each_set_tells(corpus, now, later):
    found = recorded(corpus, "tdx/dcapqvl-v4-b0c06f", now, later)
    told = {row["collateral"]: row["reference"]["status"] for row in corpus.case("tdx/dcapqvl-v4-b0c06f")["appraisals"]}
    assert (found.now.status, found.next.status) == (told[now], told[later])
    assert found.decided
