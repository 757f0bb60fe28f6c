"""The folder: whole files or none, whatever happens to whoever writes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral import durable
from verifier.collateral.cache import Bounds, Cache, default_folder
from verifier.collateral.floors import Floor
from verifier.collateral.item import Item, Kind, Name
from verifier.errors import MalformedCollateral, SetupError


def item(number: int = 1, data: bytes = b"list") -> Item:
    return Item(Name(Kind.RIM, (f"NV_{number}",)), {"document": data}, "https://test.invalid", 1_780_000_000)


def file_of(cache: Cache, one: Item) -> Path:
    return cache.folder / "items" / one.name.digest[:2] / one.name.digest


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "site")


def test_what_is_put_is_there_for_everybody(cache):
    one = item()
    assert cache.get(one.name) is None
    cache.put(one)
    assert Cache(cache.folder).get(one.name) == one
    cache.put(item(data=b"newer"))
    assert cache.get(one.name).parts == {"document": b"newer"}
    assert [found.name for found in cache.items()] == [one.name]
    cache.remove(one.name)
    assert cache.get(one.name) is None


def test_only_its_owner_reads_the_folder(cache):
    cache.put(item())
    assert file_of(cache, item()).stat().st_mode & 0o777 == 0o600
    assert (cache.folder / "items").stat().st_mode & 0o077 == 0


def test_a_torn_file_is_as_if_it_were_not_there(cache):
    """Cut at every length, and with every byte changed."""
    one = item()
    cache.put(one)
    path, whole = file_of(cache, one), file_of(cache, one).read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert cache.get(one.name) is None
        changed = whole[:size] + bytes([whole[size] ^ 1]) + whole[size + 1:]
        path.write_bytes(changed)
        assert cache.get(one.name) is None
    path.write_bytes(whole + b"\n")
    assert cache.get(one.name) is None
    path.write_bytes(whole)
    assert cache.get(one.name) == one


def test_a_file_in_another_place_is_as_if_it_were_not_there(cache):
    """A whole file of one object under the name of another."""
    cache.put(item(1))
    other = item(2)
    file_of(cache, other).parent.mkdir(parents=True, exist_ok=True)
    file_of(cache, other).write_bytes(file_of(cache, item(1)).read_bytes())
    assert cache.get(other.name) is None
    assert [found.name for found in cache.items()] == [item(1).name]


@given(st.binary(max_size=300))
def test_any_bytes_are_sealed_or_nothing(data):
    assert durable.unseal(data) is None or data == durable.seal(durable.unseal(data))
    assert durable.unseal(durable.seal(data)) == data


def _write_for_ever(folder: Path) -> None:
    cache, number = Cache(folder), 0
    while True:
        number += 1
        cache.put(item(data=b"%d" % number * 100_000), durable_now=False)


@pytest.mark.parametrize("wait", [0.05, 0.11, 0.2, 0.27])
def test_whoever_is_killed_while_writing_leaves_a_whole_file(cache, wait):
    writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(cache.folder,), daemon=True)
    writer.start()
    until = time.monotonic() + 30
    while cache.get(item().name) is None and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(wait)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    found = cache.get(item().name)
    assert found is not None
    assert len(set(found.parts["document"].split(b"x"))) == 1
    assert len(found.parts["document"]) % 100_000 == 0
    cache.put(item())
    assert cache.get(item().name) == item()


def _put_many(folder: Path, mark: bytes) -> None:
    cache = Cache(folder)
    for _ in range(60):
        cache.put(item(data=mark * 50_000), durable_now=False)


def test_processes_that_write_at_once_leave_one_of_their_files(cache):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_put_many, args=(cache.folder, mark)) for mark in (b"a", b"b", b"c")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found = cache.get(item().name)
        assert found is None or len(set(found.parts["document"])) == 1
    assert all(writer.exitcode == 0 for writer in writers)
    assert len(set(cache.get(item().name).parts["document"])) == 1


def test_what_was_not_used_for_longest_goes_first_and_floors_stay(tmp_path):
    cache = Cache(tmp_path, Bounds(entries=20))
    for number in range(20):
        cache.put(item(number))
        os.utime(file_of(cache, item(number)), (number, number))
    cache.get(item(0).name)  # used just now
    cache.floors.raise_to("floor", Floor(1, 1))
    for number in range(20, 26):
        cache.put(item(number))
    left = {found.name.about[0] for found in cache.items()}
    assert len(left) <= 22
    assert {"NV_0", "NV_25"} <= left
    assert "NV_1" not in left
    assert cache.floors.get("floor") == (1, 1)


def test_bytes_are_bounded_too(tmp_path):
    cache = Cache(tmp_path, Bounds(entries=10, bytes=100_000))
    for number in range(40):
        cache.put(item(number, bytes(20_000)))
    assert sum(path.stat().st_size for path in tmp_path.glob("items/*/*")) <= 200_000


def test_what_the_dead_left_half_written_is_removed(cache):
    cache.put(item())
    orphan = file_of(cache, item()).parent / f"{durable.TEMPORARY}1-00"
    orphan.write_bytes(b"half")
    os.utime(orphan, (1, 1))
    assert cache.get(item().name) == item()
    Cache(cache.folder).put(item(2))
    assert not orphan.exists()


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError) as caught:
        Cache(tmp_path / "file").put(item())
    assert caught.value.id == "collateral.cache.write"


def test_where_the_folder_is_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("ATTESTKIT_COLLATERAL", raising=False)
    assert default_folder() == tmp_path / "attestkit" / "collateral"
    monkeypatch.setenv("ATTESTKIT_COLLATERAL", "/somewhere")
    assert default_folder() == Path("/somewhere")


# -- items -------------------------------------------------------------------------------------------------------------


def test_items_come_back_as_they_were():
    assert Item.from_object(item().to_object()) == item()


@pytest.mark.parametrize("changes", [
    {"name": "nvidia.rim/NV_2"}, {"name": "nvidia.rim/.."}, {"name": "nope/x"}, {"name": 5},
    {"name": "nvidia.rim/" * 9},
    {"sha256": "00" * 32}, {"sha256": None}, {"parts": {"document": "AAAA"}}, {"parts": {"document": "*"}},
    {"parts": {"other": ""}}, {"parts": {}}, {"parts": []}, {"fetched": "1"}, {"fetched": True}, {"fetched": -1},
    {"source": 1}, {"source": "x" * 3000}, {"more": 1}])
def test_altered_items_are_refused(changes):
    with pytest.raises(MalformedCollateral):
        Item.from_object({**item().to_object(), **changes})


@given(st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["name", "source", "fetched", "parts", "sha256", "x"]), inner,
                                      max_size=6), max_leaves=12))
def test_any_value_is_an_item_or_refused(value):
    with pytest.raises(MalformedCollateral):
        Item.from_object(value)
