"""TCB arithmetic against tables and oracles written by hand: matching, convergence, relaunch."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.checks.intel_tcb import converge, match_module, match_platform, relaunch
from verifier.endorsements.tcb_info import TcbInfo, TcbLevel, TdxModuleIdentity
from verifier.endorsements.tcb_status import SvnLevel, TcbStatus
from verifier.endorsements.window import Window
from verifier.errors import CheckFailed
from verifier.evidence import Tee
from verifier.trail import Trail

S = TcbStatus
UP, SW, CONF, BOTH = (S.UP_TO_DATE, S.SW_HARDENING_NEEDED, S.CONFIGURATION_NEEDED,
                      S.CONFIGURATION_AND_SW_HARDENING_NEEDED)
OLD, OLD_CONF, REVOKED = S.OUT_OF_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED, S.REVOKED
STATED, OF_COMPONENTS = (UP, SW, CONF, BOTH, OLD, OLD_CONF, REVOKED), (UP, OLD, REVOKED)


def level(status: TcbStatus = UP, sgx: tuple[int, ...] = (0,) * 16, pce_svn: int = 0, tdx: tuple[int, ...] = (),
          date: str = "2024-01-01T00:00:00Z", advisories: tuple[str, ...] = ()) -> TcbLevel:
    return TcbLevel(sgx, pce_svn, tdx, status, date, advisories)


def component(status: TcbStatus, date: str = "2024-01-01T00:00:00Z", advisories: tuple[str, ...] = ()) -> SvnLevel:
    return SvnLevel(1, status, date, advisories)


# Platform's status down, the worst of its components across: what Intel's library makes of them.
CONVERGED = {
    UP: {UP: UP, OLD: OLD, REVOKED: REVOKED},
    SW: {UP: SW, OLD: OLD, REVOKED: REVOKED},
    CONF: {UP: CONF, OLD: OLD_CONF, REVOKED: REVOKED},
    BOTH: {UP: BOTH, OLD: OLD_CONF, REVOKED: REVOKED},
    OLD: {UP: OLD, OLD: OLD, REVOKED: REVOKED},
    OLD_CONF: {UP: OLD_CONF, OLD: OLD_CONF, REVOKED: REVOKED},
    REVOKED: {UP: REVOKED, OLD: REVOKED, REVOKED: REVOKED},
}


@pytest.mark.parametrize(("platform", "qe", "module"), list(product(STATED, OF_COMPONENTS, (None, *OF_COMPONENTS))))
def test_every_triple_of_statuses_converges_as_tabulated(platform, qe, module):
    worst = max((s for s in (qe, module) if s), key=OF_COMPONENTS.index)
    outcome = converge(level(platform), component(qe), component(module) if module else None)
    assert outcome.status is CONVERGED[platform][worst]


def test_the_earliest_date_and_the_union_of_the_advisories_count():
    outcome = converge(level(date="2024-03-01T00:00:00Z", advisories=("A", "B")),
                       component(UP, "2023-01-01T00:00:00Z", ("D", "B")), component(UP, "2024-01-01T00:00:00Z", ("C",)))
    assert (outcome.date, outcome.advisory_ids) == ("2023-01-01T00:00:00Z", ("A", "B", "C", "D"))


# Status at launch down, status now across: what is told of a TD whose module was updated beneath it.
ADVISED, ADVISED_CONF = S.TD_RELAUNCH_ADVISED, S.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
RELAUNCHED = {
    OLD: {UP: ADVISED, SW: ADVISED, CONF: ADVISED_CONF, BOTH: ADVISED_CONF, OLD: OLD, OLD_CONF: OLD, REVOKED: REVOKED},
    OLD_CONF: {UP: ADVISED_CONF, SW: ADVISED_CONF, CONF: ADVISED_CONF, BOTH: ADVISED_CONF, OLD: OLD_CONF,
               OLD_CONF: OLD_CONF, REVOKED: REVOKED},
}


@pytest.mark.parametrize(("launched", "current"), list(product(STATED, STATED)))
def test_every_pair_of_launch_and_now_is_told_as_tabulated(launched, current):
    now, then = (converge(level(status), component(UP), None) for status in (current, launched))
    expected = RELAUNCHED.get(launched, {}).get(current, REVOKED if current is REVOKED else launched)
    assert relaunch(then, now) is expected


svns = st.lists(st.integers(0, 3), min_size=16, max_size=16).map(tuple)
levels = st.lists(st.tuples(svns, st.integers(0, 3), svns), max_size=6, unique=True)


def info(levels: list[tuple[tuple[int, ...], int, tuple[int, ...]]], tee: Tee) -> TcbInfo:
    made = [level(sgx=sgx, pce_svn=pce, tdx=tdx if tee is Tee.TDX else ()) for sgx, pce, tdx in levels]
    ordered = sorted(made, key=lambda x: (x.sgx_components, x.pce_svn, x.tdx_components), reverse=True)
    return TcbInfo(tee, 3, bytes(6), bytes(2), 1, Window(0, 1), tuple(ordered))


@given(levels, svns, st.integers(0, 3), svns, st.sampled_from([Tee.SGX, Tee.TDX]))
def test_the_level_is_the_highest_that_is_reached_in_every_component(published, own, pce_svn, tee_tcb_svn, tee):
    tdx = bytes(tee_tcb_svn) if tee is Tee.TDX else None
    skip = 2 if tdx and tdx[1] else 0
    reached = [x for x in info(published, tee).levels if pce_svn >= x.pce_svn
               and all(a >= b for a, b in zip(own, x.sgx_components, strict=True))
               and (tdx is None or all(a >= b for a, b in zip(tdx[skip:], x.tdx_components[skip:], strict=True)))]
    trail = Trail("tdx")
    if not reached:
        with pytest.raises(CheckFailed) as caught:
            match_platform(trail, "tcb.level", info(published, tee), own, pce_svn, tdx)
        assert caught.value.id == "tdx.tcb.level"
    else:
        found = match_platform(trail, "tcb.level", info(published, tee), own, pce_svn, tdx)
        assert found == max(reached, key=lambda x: (x.sgx_components, x.pce_svn, x.tdx_components))


@pytest.mark.parametrize("position", range(16))
@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_a_high_component_excuses_no_low_one(kind, position):
    """Vectors are no numbers: every one of the sixteen must reach its own."""
    demanded = (2,) * 16
    own = tuple(1 if i == position else 255 for i in range(16))
    published = info([(demanded if kind == "sgx" else (0,) * 16, 0, demanded if kind == "tdx" else (0,) * 16)], Tee.TDX)
    high = (255,) * 16
    sgx, tdx = (own, high) if kind == "sgx" else (high, own)
    skipped = kind == "tdx" and position < 2
    trail = Trail("tdx")
    if skipped:
        assert match_platform(trail, "tcb.level", published, sgx, 0, bytes(tdx)).status is UP
    else:
        with pytest.raises(CheckFailed) as caught:
            match_platform(trail, "tcb.level", published, sgx, 0, bytes(tdx))
        assert caught.value.id == "tdx.tcb.level"


@pytest.mark.parametrize("count", [0, 1, 15, 17])
def test_vectors_of_unequal_length_are_never_compared(count):
    with pytest.raises(ValueError, match="argument"):
        match_platform(Trail("sgx"), "tcb.level", info([((0,) * 16, 0, ())], Tee.SGX), (255,) * count, 9, None)


@pytest.mark.parametrize("major", range(256))
def test_a_module_is_judged_by_the_identity_of_its_major_version(major):
    """TDX_XX in upper-case hexadecimal; version zero is from before identities, and left to the platform's levels."""
    identities = tuple(TdxModuleIdentity(f"TDX_{n:02X}", bytes(48), bytes(8), bytes(8), (
        replace(component(UP), isv_svn=n),)) for n in range(1, 256))
    published = replace(info([], Tee.TDX), tdx_module_identities=identities)
    svn = bytes((255, major)) + bytes(14)
    found = match_module(Trail("tdx"), "tcb.module_level", published, svn)
    assert found is None if major == 0 else found.isv_svn == major
    absent = replace(published, tdx_module_identities=tuple(i for i in identities if i.id != f"TDX_{major:02X}"))
    if major:
        with pytest.raises(CheckFailed) as caught:
            match_module(Trail("tdx"), "tcb.module_level", absent, svn)
        assert caught.value.id == "tdx.tcb.module_level"


def test_components_zero_and_one_count_when_the_module_has_no_version(intel_case):
    """With version zero they belong to the platform's levels, with another to the module's identity."""
    old = intel_case().says(tee_tcb_svn=bytes((5, 0, 8)) + bytes(13))
    assert old.verdict().status == "UpToDate"
    assert intel_case().says(tee_tcb_svn=bytes((4, 0, 8)) + bytes(13)).verdict().status != "UpToDate"
    assert intel_case().says(tee_tcb_svn=bytes((6, 1, 8)) + bytes(13)).verdict().status == "UpToDate"


@pytest.mark.parametrize(("kind", "orders"), [("tdx-v5-td15", 1000), ("sgx-v3", 100)])
def test_levels_in_any_of_a_thousand_orders_give_one_answer(intel_case, kind, orders):
    """First through the whole verifier, then on the parsed document."""
    case = intel_case(kind).on(components=(7, 7, 2, 2, 3, 0, 0, 3) + (0,) * 8, pce_svn=12)
    expected = case.verdict()
    assert expected.status == "OutOfDate"
    shuffler = random.Random(1)

    def shuffled(told):
        shuffler.shuffle(told["tcbLevels"])
        return told

    for _ in range(20):
        verdict = case.altered(tcb_info=lambda t: replace(t, document=shuffled)).verdict()
        assert (verdict.status, verdict.advisory_ids) == (expected.status, expected.advisory_ids)
    told = json.loads(case.maker.tcb_info(case.tee).text)
    levels = {TcbInfo.from_json(json.dumps(shuffled(told)).encode()).levels for _ in range(orders)}
    assert len(levels) == 1


@pytest.mark.parametrize(("components", "pce_svn", "status"), [
    ((8, 8, 2, 2, 4, 1, 0, 6), 13, "UpToDate"), ((8, 8, 2, 2, 3, 1, 0, 6), 13, "SWHardeningNeeded"),
    ((8, 8, 2, 2, 3, 0, 0, 6), 13, "ConfigurationAndSWHardeningNeeded"), ((7, 7, 2, 2, 3, 0, 0, 3), 12, "OutOfDate"),
    ((6, 6, 2, 2, 2, 0, 0, 3), 11, "OutOfDateConfigurationNeeded"), ((3, 3, 1, 1), 5, "Revoked"),
    ((255,) * 16, 12, "OutOfDate"), ((8, 8, 2, 2, 4, 1, 0, 5), 13, "OutOfDate"),
])
@pytest.mark.parametrize("kind", ["tdx-v4", "sgx-v3"])
def test_platforms_stand_where_their_levels_say(intel_case, kind, components, pce_svn, status):
    padded = components + (0,) * (16 - len(components))
    verdict = intel_case(kind).on(components=padded, pce_svn=pce_svn).verdict()
    assert (verdict.authentic, verdict.status) == (True, status)
    assert verdict.accepted is (status in ("UpToDate", "SWHardeningNeeded"))


@pytest.mark.parametrize(("svn", "status", "advisories"), [
    (8, "UpToDate", ()), (7, "OutOfDate", ("INTEL-SA-00615",)), (6, "OutOfDate", ("INTEL-SA-00615",)),
    (5, "Revoked", ("INTEL-SA-00219",)), (2, "Revoked", ("INTEL-SA-00219",)),
])
def test_an_old_quoting_enclave_drags_the_platform_down(intel_case, svn, status, advisories):
    verdict = intel_case().altered(qe_report=lambda r: replace(r, report=replace(r.report, isv_svn=svn))).verdict()
    assert (verdict.authentic, verdict.status, verdict.advisory_ids) == (True, status, advisories)
    assert verdict.to_dict()["claims"]["tcb"]["qe_status"] == status


@pytest.mark.parametrize(("minor", "status"), [(6, "UpToDate"), (5, "OutOfDate"), (3, "Revoked")])
def test_an_old_module_drags_the_platform_down(intel_case, minor, status):
    verdict = intel_case().says(tee_tcb_svn=bytes((minor, 1, 8)) + bytes(13)).verdict()
    assert (verdict.authentic, verdict.status) == (True, status)
    assert verdict.to_dict()["claims"]["tcb"]["module_status"] == status
    assert verdict.accepted is (status == "UpToDate")


@pytest.mark.parametrize(("launched", "now", "status"), [
    ((6, 1, 8), (6, 1, 8), "UpToDate"), ((4, 1, 8), (6, 1, 8), "TDRelaunchAdvised"),
    ((4, 1, 8), (4, 1, 8), "OutOfDate"), ((6, 1, 8), (2, 1, 8), "Revoked"), ((4, 1, 8), (2, 1, 8), "Revoked"),
    ((2, 1, 8), (6, 1, 8), "Revoked"),
])
def test_a_td_is_judged_by_the_module_that_launched_it_and_by_the_one_below_it_now(intel_case, launched, now, status):
    case = intel_case("tdx-v5-td15")
    verdict = case.says(tee_tcb_svn=bytes(launched) + bytes(13),
                        v15=replace(case.body.v15, tee_tcb_svn2=bytes(now) + bytes(13))).verdict()
    assert (verdict.authentic, verdict.status) == (True, status)
    assert verdict.accepted is (status == "UpToDate")
