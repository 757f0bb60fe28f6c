"""What is remembered of storage is what storage would say."""

from __future__ import annotations

from collections import Counter

import pytest

from kbs.storage import kept as module
from kbs.storage.kept import KeptStorage
from kbs.storage.memory import MemoryStorage


class Asked(MemoryStorage):
    """Storage that counts what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = Counter()

    def generations(self):
        self.asked["generations"] += 1
        return super().generations()

    def get(self, *named):
        self.asked["get"] += 1
        return super().get(*named)

    def versions(self, *named):
        self.asked["versions"] += 1
        return super().versions(*named)


@pytest.fixture
def inner():
    storage = Asked()
    storage.put("resource", "k", b"one")
    return storage


@pytest.fixture
def storage(inner):
    return KeptStorage(inner)


def look(storage, key="k"):
    found = storage.get("resource", key)
    return found and found.value, [entry.version for entry in storage.versions("resource", key)]


def test_moments_ask_once_and_remember_while_nothing_changes(inner, storage):
    for _ in range(3):
        with storage.one_moment():
            assert [look(storage) for _ in range(5)] == [(b"one", [1])] * 5
    assert inner.asked == {"generations": 3, "get": 1, "versions": 1}


def test_outside_moments_nothing_is_remembered(inner, storage):
    with storage.one_moment():
        look(storage)
    assert [look(storage) for _ in range(2)] == [(b"one", [1])] * 2
    assert inner.asked == {"generations": 1, "get": 3, "versions": 3}


@pytest.mark.parametrize(("change", "then"), [
    (lambda inner: inner.put("resource", "k", b"two"), (b"two", [1, 2])),
    (lambda inner: inner.delete("resource", "k"), (None, [])),
])
def test_what_somebody_else_changes_is_found_in_the_next_moment(inner, storage, change, then):
    with storage.one_moment():
        look(storage)
        change(inner)
        assert look(storage) == (b"one", [1])
    with storage.one_moment():
        assert look(storage) == then


def test_absence_is_remembered_and_ends(inner, storage):
    with storage.one_moment():
        assert [look(storage, "new") for _ in range(2)] == [(None, [])] * 2
    inner.put("resource", "new", b"x")
    with storage.one_moment():
        assert look(storage, "new") == (b"x", [1])
    assert inner.asked["get"] == 2


def test_moment_begins_when_storage_is_first_asked(inner, storage):
    with storage.one_moment():
        inner.put("resource", "k", b"two")
        assert look(storage) == (b"two", [1, 2])


def test_changes_of_other_spaces_cost_nothing(inner, storage):
    for _ in range(3):
        inner.put("policy", "p", b"x")
        with storage.one_moment():
            look(storage)
    assert inner.asked["get"] == 1


@pytest.mark.parametrize("write", [lambda storage: storage.put("resource", "k", b"two"),
                                   lambda storage: storage.delete("resource", "k")])
def test_what_a_transaction_reads_of_itself_is_not_remembered(inner, storage, write):
    """Rolled back, the number of its change is that of somebody else's change after it."""
    def undone():
        with inner.transaction():
            write(storage)
            look(storage)
            raise ValueError("undone")

    with storage.one_moment():
        look(storage)
        with pytest.raises(ValueError, match="undone"):
            undone()
        assert look(storage) == (b"one", [1])
    inner.put("resource", "k", b"three")
    with storage.one_moment():
        assert look(storage) == (b"three", [1, 2])


def test_moment_that_breaks_off_is_over(inner, storage):
    def broken():
        with storage.one_moment():
            look(storage)
            raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        broken()
    inner.put("resource", "k", b"two")
    assert look(storage) == (b"two", [1, 2])


def test_versions_are_told_apart(inner, storage):
    inner.put("resource", "k", b"two")
    with storage.one_moment():
        assert [storage.get("resource", "k", number).value for number in (1, 2, 1)] == [b"one", b"two", b"one"]
        assert storage.get("resource", "k").value == b"two"
        assert storage.get("other", "k", 1) is None


def test_large_values_and_too_many_are_not_remembered(inner, storage, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 4)
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", 10)
    inner.put("resource", "large", b"x" * 11)
    inner.asked.clear()
    with storage.one_moment():
        assert [len(storage.get("resource", "large").value) for _ in range(3)] == [11] * 3
        assert inner.asked["get"] == 3
        for number in range(20):
            storage.get("resource", f"k{number}")
            assert len(storage._kept) <= 4
