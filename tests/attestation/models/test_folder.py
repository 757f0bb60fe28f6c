"""Sealed folders: exactly what the manifest names, in the sealing that it names."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from attestation.errors import ModelError, SealedFileError, SetupError
from attestation.models.folder import open_folder, seal_folder, unseal_folder
from attestation.models.keys import HeldKeys
from attestation.models.seal import seal_file

FILES = {"model-1.safetensors": 9000, "model-2.safetensors": 9000, "tokenizer.json": 50, "empty": 0}


@pytest.fixture
def source(tmp_path, noise):
    folder = tmp_path / "model"
    folder.mkdir()
    for number, (name, size) in enumerate(FILES.items()):
        (folder / name).write_bytes(noise(size + number)[:size])
    return folder


@pytest.fixture
def manifest(source, tmp_path, keys, key_uri):
    return seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys, chunk_bytes=4096)


@pytest.fixture
def sealed(manifest, tmp_path):
    return tmp_path / "sealed"


def refusal(folder, keys, **options) -> ModelError:
    """The error that opening the folder and every file in it ends in."""
    def read_all() -> None:
        with open_folder(folder, keys, **options) as opened:
            for name in opened.names:
                with opened.open(name) as reader:
                    reader.read(0, len(reader))

    with pytest.raises(ModelError) as caught:
        read_all()
    return caught.value


def test_folder_opens_as_it_was(source, sealed, manifest, tmp_path, keys):
    found = unseal_folder(sealed, tmp_path / "opened", keys, manifest_digest=manifest.digest)
    assert found == manifest
    assert {path.name: path.read_bytes() for path in (tmp_path / "opened").iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()}
    assert stat.S_IMODE((tmp_path / "opened").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "opened").iterdir()} == {0o600}


def test_sealed_folder_holds_sealed_files_and_the_manifest_only(sealed, entries):
    assert entries(sealed) == sorted([name + ".sealed" for name in FILES] + ["manifest.json"])


@pytest.mark.parametrize(("spoil", "rule"), [
    (lambda folder: (folder / "extra").touch(), "entries"),
    (lambda folder: (folder / ".hidden").touch(), "entries"),
    (lambda folder: (folder / "extra").mkdir(), "entries"),
    (lambda folder: (folder / "empty.sealed").unlink(), "entries"),
    (lambda folder: (folder / "empty.sealed").rename(folder / "EMPTY.sealed"), "entries"),
    (lambda folder: shutil.copy(folder / "empty.sealed", folder / "copy.sealed"), "entries"),
    (lambda folder: os.truncate(folder / "model-1.safetensors.sealed", 100), "length"),
])
def test_folder_with_other_entries_is_refused(sealed, keys, spoil, rule):
    spoil(sealed)
    assert refusal(sealed, keys).id == f"models.folder.{rule}"


def test_symbolic_link_in_place_of_a_file_is_refused(sealed, tmp_path, keys):
    path = sealed / "empty.sealed"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refusal(sealed, keys).id == "models.folder.entry"


def test_link_put_there_after_the_check_is_refused(sealed, tmp_path, keys):
    with open_folder(sealed, keys) as opened:
        (sealed / "empty.sealed").rename(tmp_path / "elsewhere")
        (sealed / "empty.sealed").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SetupError) as caught:
            opened.open("empty")
    assert caught.value.id == "models.io"


def test_hard_link_is_allowed_and_what_is_changed_through_it_refused(sealed, tmp_path, keys):
    other = tmp_path / "other name"
    other.hardlink_to(sealed / "model-1.safetensors.sealed")
    with open_folder(sealed, keys) as opened:
        opened.open("model-1.safetensors").close()
    whole = bytearray(other.read_bytes())
    whole[-1] ^= 1
    other.write_bytes(whole)
    error = refusal(sealed, keys)
    assert (error.id, "chunk 2 of 3" in error.detail) == ("models.chunk", True)


def test_files_that_changed_places_are_refused(sealed, keys):
    """Both have one length and one key, and each would open by itself."""
    one, other = sealed / "model-1.safetensors.sealed", sealed / "model-2.safetensors.sealed"
    one.rename(sealed / "x")
    other.rename(one)
    (sealed / "x").rename(other)
    error = refusal(sealed, keys)
    assert (error.id, error.detail.startswith("model-1.safetensors: ")) == ("models.header.digest", True)


def test_older_sealing_of_one_file_is_refused(source, sealed, keys, key_uri):
    (sealed / "empty.sealed").unlink()
    seal_file(source / "empty", sealed / "empty.sealed", key_uri=key_uri, keys=keys, chunk_bytes=4096)
    assert refusal(sealed, keys).id == "models.header.digest"


def test_older_folder_is_refused_where_a_manifest_is_pinned(source, sealed, tmp_path, keys, key_uri):
    newer = seal_folder(source, tmp_path / "newer", key_uri=key_uri, keys=keys)
    assert refusal(sealed, keys, manifest_digest=newer.digest).id == "models.manifest.digest"


def test_altered_chunk_is_refused_naming_file_and_chunk(sealed, tmp_path, keys):
    path = sealed / "model-2.safetensors.sealed"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(SealedFileError) as caught:
        unseal_folder(sealed, tmp_path / "opened", keys)
    assert caught.value.id == "models.chunk"
    assert not (tmp_path / "opened").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".partial")]


@pytest.mark.parametrize("spoil", [
    lambda folder: (folder / "manifest.json").unlink(),
    lambda folder: ((folder / "manifest.json").unlink(), (folder / "manifest.json").symlink_to("empty.sealed")),
    lambda folder: ((folder / "manifest.json").unlink(), (folder / "manifest.json").mkdir()),
])
def test_folder_without_a_manifest_cannot_be_judged(sealed, keys, spoil):
    spoil(sealed)
    with pytest.raises(SetupError) as caught:
        open_folder(sealed, keys)
    assert caught.value.id in ("models.io", "models.path")


@pytest.mark.parametrize(("spoil", "id"), [
    (lambda folder: (folder / "sub").mkdir(), "models.folder.entry"),
    (lambda folder: (folder / "link").symlink_to("empty"), "models.folder.entry"),
    (lambda folder: os.mkfifo(folder / "pipe"), "models.folder.entry"),
    (lambda folder: (folder / ".gitattributes").touch(), "models.manifest.malformed"),
    (lambda folder: (folder / "a name").touch(), "models.manifest.malformed"),
    (lambda folder: (folder / "EMPTY").touch(), "models.manifest.malformed"),
])
def test_source_with_entries_a_manifest_cannot_hold_is_refused(source, tmp_path, keys, key_uri, spoil, id):
    spoil(source)
    with pytest.raises(ModelError) as caught:
        seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys)
    assert caught.value.id == id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_files_under_other_keys_need_those_keys(source, tmp_path, dek, key_uri, keys):
    seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys)
    with pytest.raises(ModelError) as caught:
        open_folder(tmp_path / "sealed", HeldKeys({key_uri: bytes(32)}))
    assert caught.value.id == "models.manifest.hmac"


def test_file_the_manifest_does_not_name_is_not_opened(sealed, keys):
    with open_folder(sealed, keys) as opened, pytest.raises(SetupError) as caught:
        opened.open("../model/empty")
    assert caught.value.id == "models.folder.unknown"


def test_opened_folder_leaves_no_descriptor_open(sealed, tmp_path, keys, entries):
    before = entries("/proc/self/fd")
    unseal_folder(sealed, tmp_path / "opened", keys)
    (sealed / "extra").touch()
    with pytest.raises(ModelError):
        open_folder(sealed, keys)
    assert entries("/proc/self/fd") == before
