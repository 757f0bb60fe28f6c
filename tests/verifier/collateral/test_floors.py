"""What was accepted once is not undercut: in memory, on disk, between processes, after a crash."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral import durable, floors
from verifier.collateral.floors import Floor, FloorFiles, MemoryFloors
from verifier.errors import SetupError

NAME = "intel.tcb_info/tdx/00806f050000/standard@ab"


@pytest.fixture(params=["memory", "files"])
def kept(request, tmp_path):
    return MemoryFloors() if request.param == "memory" else FloorFiles(tmp_path)


def test_floors_only_rise(kept):
    assert kept.get(NAME) is None
    assert kept.raise_to(NAME, Floor(17, 100)) == Floor(17, 100)
    assert kept.raise_to(NAME, Floor(16, 900)) == Floor(17, 100)
    assert kept.raise_to(NAME, Floor(17, 90)) == Floor(17, 100)
    assert kept.raise_to(NAME, Floor(17, 110)) == Floor(17, 110)
    assert kept.raise_to(NAME, Floor(18, 5)) == Floor(18, 5)
    assert kept.get(NAME) == Floor(18, 5)
    assert kept.get(NAME + "x") is None


def test_floors_are_exported_and_read_back(kept):
    kept.raise_to(NAME, Floor(17, 100))
    kept.raise_to("a", Floor(0, 1))
    told = json.loads(json.dumps(floors.to_object(kept.export())))
    assert floors.from_object(told) == {"a": Floor(0, 1), NAME: Floor(17, 100)}


@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 2**40)), min_size=1, max_size=20))
def test_whatever_is_offered_the_highest_stands(offers):
    kept = MemoryFloors()
    for offer in offers:
        kept.raise_to(NAME, Floor(*offer))
    assert kept.get(NAME) == max(offers)


def test_a_restart_changes_nothing(tmp_path):
    FloorFiles(tmp_path).raise_to(NAME, Floor(17, 100))
    assert FloorFiles(tmp_path).raise_to(NAME, Floor(16, 200)) == Floor(17, 100)


def file_of(folder: Path) -> Path:
    return next(folder.glob("[0-9a-f][0-9a-f]/*"))


@pytest.mark.parametrize("contents", [
    b"", b"x", durable.seal(b"{}"), durable.seal(b'{"name": "other", "number": 1, "issued": 1}'),
    durable.seal(b'{"name": "%s", "number": -1, "issued": 1}' % NAME.encode()),
    durable.seal(b'{"name": "%s", "number": true, "issued": 1}' % NAME.encode()), durable.seal(b"[" * 99)])
def test_an_altered_floor_is_not_taken_for_absent(tmp_path, contents):
    """That would lower it."""
    kept = FloorFiles(tmp_path)
    kept.raise_to(NAME, Floor(17, 100))
    file_of(tmp_path).write_bytes(contents)
    for act in (lambda: kept.get(NAME), lambda: kept.raise_to(NAME, Floor(1, 1))):
        with pytest.raises(SetupError) as caught:
            act()
        assert caught.value.id == "collateral.floors.unreadable"


def test_an_altered_floor_is_not_exported_as_if_nothing_were_wrong(tmp_path):
    kept = FloorFiles(tmp_path)
    kept.raise_to(NAME, Floor(17, 100))
    file_of(tmp_path).write_bytes(b"torn")
    with pytest.raises(SetupError, match=r"^collateral\.floors\.unreadable: "):
        kept.export()


def _climb(folder: Path, start: int) -> None:
    kept = FloorFiles(folder)
    for number in range(start, start + 200, 2):
        kept.raise_to(NAME, Floor(number, number))


def test_processes_that_raise_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    climbers = [context.Process(target=_climb, args=(tmp_path, start)) for start in (0, 1, 50, 51)]
    for climber in climbers:
        climber.start()
    for climber in climbers:
        climber.join()
        assert climber.exitcode == 0
    assert FloorFiles(tmp_path).get(NAME) == Floor(249, 249)


@pytest.mark.parametrize("told", [None, [], {"a": 1}, {"a": {"number": 1}}, {"a": {"number": "1", "issued": 1}},
                                  {"a": {"number": 1, "issued": 1, "more": 1}},
                                  {"x" * 3000: {"number": 1, "issued": 1}}])
def test_what_are_no_floors_is_refused(told):
    with pytest.raises(SetupError, match=r"^collateral\.floors\.file: "):
        floors.from_object(told)
