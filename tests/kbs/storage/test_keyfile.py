"""Key files and the state folder."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbs.errors import SetupError
from kbs.storage import keyfile


def mode(path):
    return path.stat().st_mode & 0o777


def test_key_is_made_once_with_mode_0600(tmp_path):
    path = tmp_path / "k"
    key = keyfile.read_or_create(path)
    assert len(key) == 32
    assert mode(path) == 0o600
    assert keyfile.read_or_create(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["k"]


def test_mode_does_not_depend_on_the_umask(tmp_path):
    before = os.umask(0)
    try:
        keyfile.read_or_create(tmp_path / "k")
        keyfile.private_folder(tmp_path / "state")
    finally:
        os.umask(before)
    assert mode(tmp_path / "k") == 0o600
    assert mode(tmp_path / "state") == 0o700


def test_those_who_start_together_read_the_same_key(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: keyfile.read_or_create(tmp_path / "k"), range(64)))
    assert len(keys) == 1


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644])
def test_key_that_others_may_read_is_refused(tmp_path, bits):
    path = tmp_path / "k"
    keyfile.read_or_create(path)
    path.chmod(bits)
    with pytest.raises(SetupError) as refused:
        keyfile.read_or_create(path)
    assert refused.value.id == "storage.key_file.mode"


def test_symbolic_link_is_refused(tmp_path):
    keyfile.read_or_create(tmp_path / "k")
    (tmp_path / "link").symlink_to(tmp_path / "k")
    with pytest.raises(SetupError) as refused:
        keyfile.read(tmp_path / "link")
    assert refused.value.id == "storage.key_file.unreadable"


@pytest.mark.parametrize("size", [0, 31, 33, 70_000])
def test_key_of_another_length_is_refused(tmp_path, size):
    keyfile.create(tmp_path / "k", bytes(size))
    with pytest.raises(SetupError) as refused:
        keyfile.read_or_create(tmp_path / "k")
    assert refused.value.id == "storage.key_file.size"


def test_folder_is_not_a_key(tmp_path):
    (tmp_path / "k").mkdir()
    with pytest.raises(SetupError) as refused:
        keyfile.read_or_create(tmp_path / "k")
    assert refused.value.id == "storage.key_file.kind"


def test_create_does_not_overwrite_and_replace_does(tmp_path):
    assert keyfile.create(tmp_path / "k", b"1") is True
    assert keyfile.create(tmp_path / "k", b"2") is False
    assert keyfile.read(tmp_path / "k") == b"1"
    keyfile.replace(tmp_path / "k", b"3")
    assert keyfile.read(tmp_path / "k") == b"3"
    assert mode(tmp_path / "k") == 0o600


def test_open_state_folder_is_refused(tmp_path):
    folder = keyfile.private_folder(tmp_path / "state")
    folder.chmod(0o750)
    with pytest.raises(SetupError) as refused:
        keyfile.private_folder(folder)
    assert refused.value.id == "storage.folder.mode"
