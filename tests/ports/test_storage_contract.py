"""What every storage promises (kbs.storage.base), run over every adapter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kbs.errors import Conflict, StorageError


def test_absent_key_is_none(storage):
    assert storage.get("resource", "a/b/c") is None
    assert storage.versions("resource", "a/b/c") == ()
    assert storage.list("resource") == ()


def test_put_makes_versions_and_get_returns_the_newest_or_the_named(storage):
    assert storage.put("resource", "a/b/c", b"one") == 1
    assert storage.put("resource", "a/b/c", b"three") == 2
    assert storage.get("resource", "a/b/c").value == b"three"
    assert storage.get("resource", "a/b/c", 1).value == b"one"
    assert storage.get("resource", "a/b/c", 3) is None
    assert [(e.version, e.size, e.stored_at) for e in storage.versions("resource", "a/b/c")] == [
        (1, 3, 1_700_000_000), (2, 5, 1_700_000_000)]


def test_record_tells_its_key_version_and_moment(storage):
    storage.put("resource", "a/b/c", b"one")
    record = storage.get("resource", "a/b/c")
    assert (record.key, record.version, record.stored_at) == ("a/b/c", 1, 1_700_000_000)


def test_value_is_not_shown_by_repr(storage):
    storage.put("resource", "a/b/c", b"do not show")
    assert "do not show" not in repr(storage.get("resource", "a/b/c"))


def test_spaces_do_not_share_keys(storage):
    storage.put("resource", "x", b"r")
    storage.put("resource-policy", "x", b"p")
    assert storage.get("resource", "x").value == b"r"
    storage.delete("resource", "x")
    assert storage.get("resource-policy", "x").value == b"p"


@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)) * 300])
def test_values_come_back_byte_for_byte(storage, value):
    storage.put("resource", "k", value)
    assert storage.get("resource", "k").value == value


def test_put_with_expected_version_replaces_only_that_version(storage):
    storage.put("resource", "k", b"1", expect=0)
    assert storage.put("resource", "k", b"2", expect=1) == 2
    with pytest.raises(Conflict) as refused:
        storage.put("resource", "k", b"lost", expect=1)
    assert (refused.value.id, refused.value.expected, refused.value.got) == ("storage.version", 1, 2)
    assert storage.get("resource", "k").value == b"2"


def test_put_that_expects_nothing_refuses_an_existing_key(storage):
    storage.put("resource", "k", b"1")
    with pytest.raises(Conflict, match=r"^storage\.version: "):
        storage.put("resource", "k", b"2", expect=0)


def test_put_that_expects_a_version_refuses_an_absent_key(storage):
    with pytest.raises(Conflict):
        storage.put("resource", "k", b"1", expect=1)
    assert storage.get("resource", "k") is None
    assert storage.list("resource") == ()


def test_delete_forgets_every_version_and_numbers_are_never_used_again(storage):
    storage.put("resource", "k", b"1")
    storage.put("resource", "k", b"2")
    assert storage.delete("resource", "k") is True
    assert storage.get("resource", "k") is None
    assert storage.get("resource", "k", 1) is None
    assert storage.versions("resource", "k") == ()
    assert storage.delete("resource", "k") is False
    assert storage.put("resource", "k", b"3", expect=0) == 3


def test_delete_with_another_expected_version_is_refused(storage):
    storage.put("resource", "k", b"1")
    with pytest.raises(Conflict):
        storage.delete("resource", "k", expect=2)
    assert storage.get("resource", "k").value == b"1"


def test_list_is_ordered_and_prefixes_are_literal(storage):
    for key in ("a_b/x", "a%b/x", "aXb/x", "A_b/x", "a_b/é", "b"):
        storage.put("resource", key, b"v")
    assert [entry.key for entry in storage.list("resource", "a_b/")] == ["a_b/x", "a_b/é"]
    assert [entry.key for entry in storage.list("resource", "a%")] == ["a%b/x"]
    assert [entry.key for entry in storage.list("resource")] == ["A_b/x", "a%b/x", "aXb/x", "a_b/x", "a_b/é", "b"]


def test_list_shows_the_newest_version_and_the_size_that_was_put(storage):
    storage.put("resource", "k", b"1")
    storage.put("resource", "k", b"four")
    (entry,) = storage.list("resource")
    assert (entry.key, entry.version, entry.size) == ("k", 2, 4)


@pytest.mark.parametrize("key", ["", "a\x00b", "a\nb", "x" * 1025, "\ud800"])
def test_what_is_no_name_is_refused(storage, key):
    for call in (lambda: storage.put("resource", key, b"v"), lambda: storage.get("resource", key),
                 lambda: storage.delete("resource", key)):
        with pytest.raises(StorageError) as refused:
            call()
        assert refused.value.id == "storage.key"


def test_generation_grows_with_every_change_in_its_spaces_only(storage):
    def changes(*spaces):
        found = storage.generations()
        return sum(found.get(space, 0) for space in spaces)

    before = changes("p", "q")
    storage.put("p", "k", b"1")
    storage.put("p", "k", b"2")
    storage.delete("p", "k")
    storage.put("q", "k", b"1")
    assert changes("p", "q") == before + 4
    storage.put("other", "k", b"1")
    storage.delete("p", "k")
    assert changes("p", "q") == before + 4


def test_transaction_commits_together(storage, transaction):
    with transaction():
        storage.put("resource", "a", b"1")
        storage.put("resource", "b", b"1")
        assert storage.get("resource", "a").value == b"1"
    assert len(storage.list("resource")) == 2


def test_transaction_that_fails_leaves_nothing(storage, transaction):
    storage.put("resource", "a", b"old")

    def failing():
        with transaction():
            storage.put("resource", "a", b"new")
            storage.delete("resource", "a")
            storage.put("resource", "b", b"1")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        failing()
    assert storage.get("resource", "a").value == b"old"
    assert storage.get("resource", "b") is None
    assert storage.put("resource", "a", b"next") == 2


def test_nested_transaction_belongs_to_the_outer_one(storage, transaction):
    def failing():
        with transaction():
            with transaction():
                storage.put("resource", "a", b"1")
            raise RuntimeError("after the inner one ended")

    with pytest.raises(RuntimeError):
        failing()
    assert storage.get("resource", "a") is None


def test_of_many_concurrent_writers_with_one_expected_version_one_wins(storage):
    storage.put("resource", "k", b"0")

    def write(n):
        try:
            return storage.put("resource", "k", str(n).encode(), expect=1)
        except Conflict:
            return None

    with ThreadPoolExecutor(16) as pool:
        won = [version for version in pool.map(write, range(32)) if version]
    assert won == [2]


def test_concurrent_writers_get_distinct_consecutive_versions(storage):
    with ThreadPoolExecutor(16) as pool:
        versions = list(pool.map(lambda n: storage.put("resource", "k", str(n).encode()), range(48)))
    assert sorted(versions) == list(range(1, 49))
    for version in versions:
        assert storage.get("resource", "k", version) is not None
