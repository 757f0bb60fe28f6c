"""Encryption at rest."""

from __future__ import annotations

import pytest

from kbs.errors import SetupError, StorageError
from kbs.storage.memory import MemoryStorage
from kbs.storage.sealed import SealedStorage

KEY = bytes(range(32))
SECRET = b"canary-7f3a9b"


@pytest.fixture
def inner():
    return MemoryStorage()


@pytest.fixture
def sealed(inner):
    return SealedStorage(inner, KEY)


def overwrite(inner, space, key, value):
    """Put raw bytes under a name, as somebody with the database alone could."""
    inner._live[space, key] = tuple(
        (type(record)(record.key, record.version, value, record.stored_at), size)
        for record, size in inner._live[space, key])


def test_inner_storage_never_sees_the_value(inner, sealed):
    sealed.put("resource", "a/b/c", SECRET)
    assert SECRET not in inner.get("resource", "a/b/c").value


def test_equal_values_are_sealed_differently(inner, sealed):
    for _ in range(64):
        sealed.put("resource", "k", SECRET)
    stored = {inner.get("resource", "k", n).value for n in range(1, 65)}
    assert len(stored) == 64
    assert len({value[9:21] for value in stored}) == 64


def test_every_flipped_bit_is_refused(inner, sealed):
    sealed.put("resource", "k", SECRET)
    genuine = inner.get("resource", "k").value
    for position in range(len(genuine) * 8):
        altered = bytearray(genuine)
        altered[position // 8] ^= 1 << position % 8
        overwrite(inner, "resource", "k", bytes(altered))
        with pytest.raises(StorageError) as refused:
            sealed.get("resource", "k")
        assert refused.value.id == ("storage.seal.key" if position < 9 * 8 else "storage.seal.value")


def test_every_truncation_is_refused(inner, sealed):
    sealed.put("resource", "k", SECRET)
    genuine = inner.get("resource", "k").value
    for size in range(len(genuine)):
        overwrite(inner, "resource", "k", genuine[:size])
        with pytest.raises(StorageError, match=r"^(storage\.seal\.key|storage\.seal\.value): "):
            sealed.get("resource", "k")


def test_value_moved_to_another_name_is_refused(inner, sealed):
    sealed.put("resource", "open", b"public")
    sealed.put("resource", "closed", SECRET)
    overwrite(inner, "resource", "open", inner.get("resource", "closed").value)
    with pytest.raises(StorageError) as refused:
        sealed.get("resource", "open")
    assert refused.value.id == "storage.seal.value"


def test_value_moved_to_another_space_is_refused(inner, sealed):
    sealed.put("ab", "c", SECRET)
    inner.put("a", "bc", inner.get("ab", "c").value)
    with pytest.raises(StorageError) as refused:
        sealed.get("a", "bc")
    assert refused.value.id == "storage.seal.value"


def test_old_version_in_the_place_of_a_new_one_is_refused(inner, sealed):
    sealed.put("resource", "k", b"old")
    old = inner.get("resource", "k").value
    sealed.put("resource", "k", b"new")
    overwrite(inner, "resource", "k", old)
    with pytest.raises(StorageError) as refused:
        sealed.get("resource", "k")
    assert refused.value.id == "storage.seal.value"


def test_another_key_is_named_as_such(inner, sealed):
    sealed.put("resource", "k", SECRET)
    with pytest.raises(StorageError) as refused:
        SealedStorage(inner, bytes(32)).get("resource", "k")
    assert refused.value.id == "storage.seal.key"


def test_a_database_sealed_with_another_key_is_refused_at_start(inner, sealed):
    assert sealed.prove_key() is True
    assert sealed.prove_key() is False
    with pytest.raises(SetupError) as refused:
        SealedStorage(inner, bytes(32)).prove_key()
    assert refused.value.id == "storage.seal.key"
