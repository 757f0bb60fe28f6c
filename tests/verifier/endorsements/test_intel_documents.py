"""TCB info and QE identity: order, forms, and whatever JSON arrives (strictness per member: tests/verifier/checks)."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.endorsements.document import Document
from verifier.endorsements.qe_identity import QeIdentity
from verifier.endorsements.tcb_info import TcbInfo
from verifier.endorsements.tcb_status import TcbStatus, level_for
from verifier.errors import MalformedCollateral
from verifier.evidence import Tee


@pytest.fixture(scope="session")
def told(intel_case) -> dict[str, dict[str, Any]]:
    maker = intel_case().maker
    return {"tdx": json.loads(maker.tcb_info("tdx").text), "sgx": json.loads(maker.tcb_info("sgx").text),
            "qe": json.loads(maker.qe_identity("tdx").text)}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def refusal(kind: Any, value: object) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        kind.from_json(value if isinstance(value, bytes) else encoded(value))
    return caught.value.id


def test_a_document_tells_what_it_is_about(told, intel_at):
    info = TcbInfo.from_json(encoded(told["tdx"]))
    assert (info.tee, info.version, info.evaluation_number) == (Tee.TDX, 3, 18)
    assert info.window == (intel_at, intel_at + 365 * 24 * 3600)
    assert info.module_identity(1).id == "TDX_01"
    assert info.module_identity(2) is None
    assert TcbInfo.from_json(encoded(told["sgx"])).tdx_module is None


def test_levels_come_out_in_descending_order_whatever_theirs(told):
    expected = TcbInfo.from_json(encoded(told["tdx"])).levels
    keys = [(level.sgx_components, level.pce_svn, level.tdx_components) for level in expected]
    assert keys == sorted(keys, reverse=True)
    shuffler = random.Random(5)
    for _ in range(50):
        shuffled = copy.deepcopy(told["tdx"])
        shuffler.shuffle(shuffled["tcbLevels"])
        for identity in shuffled["tdxModuleIdentities"]:
            shuffler.shuffle(identity["tcbLevels"])
        assert TcbInfo.from_json(encoded(shuffled)).levels == expected
        levels = TcbInfo.from_json(encoded(shuffled)).module_identity(1).levels
        assert [level.isv_svn for level in levels] == [6, 4, 2]


def flat(told: dict[str, Any]) -> dict[str, Any]:
    """TCB info of version 2, as older services gave it."""
    levels = []
    for level in told["tcbLevels"]:
        components = {f"sgxtcbcomp{i:02d}svn": c["svn"] for i, c in enumerate(level["tcb"]["sgxtcbcomponents"], 1)}
        levels.append(level | {"tcb": components | {"pcesvn": level["tcb"]["pcesvn"]}})
    return {name: value for name, value in told.items() if name != "id"} | {"version": 2, "tcbLevels": levels}


def test_version_two_is_sgx_with_flat_components(told):
    old, new = TcbInfo.from_json(encoded(flat(told["sgx"]))), TcbInfo.from_json(encoded(told["sgx"]))
    assert (old.tee, old.version, old.levels) == (Tee.SGX, 2, new.levels)


@pytest.mark.parametrize("change", [
    lambda t: t | {"id": "SGX"}, lambda t: t | {"tdxModule": {}}, lambda t: {**t, "version": 1},
    lambda t: t | {"tcbLevels": [t["tcbLevels"][0] | {"tcb": t["tcbLevels"][0]["tcb"] | {"sgxtcbcomp17svn": 0}}]},
    lambda t: t | {"tcbLevels": [t["tcbLevels"][0] | {"tcb": {"pcesvn": 1}}]},
])
def test_version_two_is_as_strict(told, change):
    assert refusal(TcbInfo, change(flat(told["sgx"]))).startswith("collateral.tcb_info")


@pytest.mark.parametrize("count", [0, 1, 15, 17, 32])
@pytest.mark.parametrize("name", ["sgxtcbcomponents", "tdxtcbcomponents"])
def test_levels_have_sixteen_components(told, name, count):
    changed = copy.deepcopy(told["tdx"])
    changed["tcbLevels"][2]["tcb"][name] = [{"svn": 0}] * count
    assert refusal(TcbInfo, changed) == "collateral.tcb_info.tcbLevels.tcb"


@pytest.mark.parametrize("svn", [-1, 256, 1.0, "1", None, True, [1]])
def test_components_are_bytes(told, svn):
    changed = copy.deepcopy(told["tdx"])
    changed["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][3]["svn"] = svn
    assert refusal(TcbInfo, changed) == "collateral.tcb_info.tcbLevels.tcb.sgxtcbcomponents"


def test_the_same_level_twice_is_refused_even_with_the_same_status(told):
    changed = copy.deepcopy(told["tdx"])
    changed["tcbLevels"].append(changed["tcbLevels"][0])
    assert refusal(TcbInfo, changed) == "collateral.tcb_info"
    changed = copy.deepcopy(told["tdx"])
    changed["tdxModuleIdentities"].append(changed["tdxModuleIdentities"][0])
    assert refusal(TcbInfo, changed) == "collateral.tcb_info"
    changed = copy.deepcopy(told["qe"])
    changed["tcbLevels"].append(changed["tcbLevels"][0] | {"tcbStatus": "Revoked"})
    assert refusal(QeIdentity, changed) == "collateral.qe_identity"


def test_tdx_needs_a_module_and_sgx_levels_none(told):
    changed = {name: value for name, value in told["tdx"].items() if name != "tdxModule"}
    assert refusal(TcbInfo, changed) == "collateral.tcb_info.tdxModule"
    crossed = told["sgx"] | {"tcbLevels": told["tdx"]["tcbLevels"]}
    assert refusal(TcbInfo, crossed) == "collateral.tcb_info.tcbLevels.tcb"


def test_hexadecimal_of_any_case_is_the_same_platform(told):
    """FMSPCs are compared as bytes."""
    spellings = {TcbInfo.from_json(encoded(told["tdx"] | {"fmspc": text})).fmspc
                 for text in ("00A0bC00f0E0", "00a0bc00f0e0", "00A0BC00F0E0")}
    assert spellings == {bytes.fromhex("00a0bc00f0e0")}


@pytest.mark.parametrize("moment", [
    "2026-01-27", "2026-01-27T09:01:45", "2026-01-27T09:01:45+00:00", "2026-01-27T09:01:45+01:00",
    "2026-01-27T09:01:45.5Z", "2026-01-27 09:01:45Z", "2026-01-27t09:01:45z", "2026-01-27T09:01:60Z",
    "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "2026-01-27T09:01:45Z\n", "\uff12026-01-27T09:01:45Z", "", "now", "1780000000", "2026-W05-2T00:00:00Z",
    "-026-01-27T09:01:45Z",
])
@pytest.mark.parametrize("name", ["issueDate", "nextUpdate"])
def test_moments_are_whole_seconds_in_utc(told, name, moment):
    assert refusal(TcbInfo, told["tdx"] | {name: moment}) == "collateral.tcb_info"
    assert refusal(QeIdentity, told["qe"] | {name: moment}) == "collateral.qe_identity"


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2028-02-29T00:00:00Z",
                                    "9999-12-31T23:59:59Z"])
def test_moments_of_every_year_are_read(told, moment):
    assert TcbInfo.from_json(encoded(told["tdx"] | {"issueDate": moment})).window.not_before is not None


@pytest.mark.parametrize("advisories", [None, "INTEL-SA-1", [1], [""], ["a" * 65], ["a b"], ["é"], ["a\n"], [["a"]],
                                        {}])
def test_advisories_are_names(told, advisories):
    changed = copy.deepcopy(told["tdx"])
    changed["tcbLevels"][0]["advisoryIDs"] = advisories
    assert refusal(TcbInfo, changed) == "collateral.tcb_info.tcbLevels"


@pytest.mark.parametrize("status", list(TcbStatus))
def test_each_status_that_the_maker_states_is_read(told, status):
    changed = copy.deepcopy(told["tdx"])
    changed["tcbLevels"][0]["tcbStatus"] = status.value
    if status.value.startswith("TDRelaunch"):
        assert refusal(TcbInfo, changed) == "collateral.tcb_info.tcbLevels"
    else:
        assert status in {level.status for level in TcbInfo.from_json(encoded(changed)).levels}


def test_a_level_is_the_highest_one_not_above(told):
    levels = QeIdentity.from_json(encoded(told["qe"])).levels
    found = {svn: level.isv_svn if (level := level_for(levels, svn)) else None for svn in (0, 1, 2, 5, 6, 7, 8, 9)}
    assert found == {0: None, 1: None, 2: 2, 5: 2, 6: 6, 7: 6, 8: 8, 9: 8}


def test_an_object_is_told_from_everything_else():
    for value in (None, [], "x", 5):
        with pytest.raises(MalformedCollateral) as caught:
            Document(value, "tcb_info")
        assert caught.value.id == "collateral.tcb_info"


LEAVES = st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=5) | st.sampled_from(
    ["SGX", "TDX", "UpToDate", "2026-01-01T00:00:00Z", "00" * 6, "00" * 16, "00" * 48])


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += paths(item, (*path, key))
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_altered_documents_are_read_or_refused(told, data):
    """Somewhere in a right document, one value or several become others, or are left out."""
    name = data.draw(st.sampled_from(["tdx", "sgx", "qe"]))
    value = copy.deepcopy(told[name])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(value)[1:]))
        place = value
        for step in path[:-1]:
            place = place[step]
        if isinstance(place, dict) and data.draw(st.booleans()):
            del place[path[-1]]
        else:
            place[path[-1]] = data.draw(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2), max_leaves=3))
    kind = QeIdentity if name == "qe" else TcbInfo
    try:
        kind.from_json(encoded(value))
    except MalformedCollateral:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(["id", "version", "fmspc", "tcbLevels"]), LEAVES).map(
    encoded))
def test_any_bytes_are_refused(data):
    for kind in (TcbInfo, QeIdentity):
        assert refusal(kind, data).startswith("collateral.")
