"""Sealing and opening files: all of it under the target's name, or nothing; never the same bytes twice."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from attestation.errors import KeyUnavailable, SealedFileError, SetupError
from attestation.models.files import new_file, new_folder
from attestation.models.keys import HeldKeys, generate_key_file, read_key_file
from attestation.models.seal import seal_file
from attestation.models.unseal import unseal_file

CHUNK = 4096


@pytest.fixture
def source(tmp_path, noise):
    path = tmp_path / "source"
    path.write_bytes(noise(10 * CHUNK + 5))
    return path


@pytest.fixture
def room(tmp_path):
    """An empty folder to write into, so that anything left behind shows."""
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_sealed_and_opened_files_are_for_their_owner_only(source, room, noise, keys, key_uri, entries):
    os.umask(0)
    header = seal_file(source, room / "a", key_uri=key_uri, keys=keys, chunk_bytes=CHUNK)
    assert unseal_file(room / "a", room / "b", keys) == header
    assert (room / "b").read_bytes() == noise(10 * CHUNK + 5)
    assert [mode(room / name) for name in ("a", "b")] == [0o600, 0o600]
    assert entries(room) == ["a", "b"]


def test_same_file_sealed_twice_gives_other_bytes_in_every_chunk(source, room, keys, key_uri):
    for name in ("a", "b"):
        seal_file(source, room / name, key_uri=key_uri, keys=keys, chunk_bytes=CHUNK)
    one, other = (room / "a").read_bytes(), (room / "b").read_bytes()
    start = 90 + len(key_uri)
    for at in range(start, len(one), CHUNK + 16):
        assert one[at : at + 21] != other[at : at + 21]


def test_sealing_is_the_documents(source, room, noise, keys, key_uri, reference):
    seal_file(source, room / "a", key_uri=key_uri, keys=keys, chunk_bytes=CHUNK, _salt=b"s" * 32)
    assert (room / "a").read_bytes() == reference.seal(noise(10 * CHUNK + 5))


def test_progress_counts_every_byte_both_ways(source, room, keys, key_uri):
    sealed, opened = [], []
    seal_file(source, room / "a", key_uri=key_uri, keys=keys, chunk_bytes=CHUNK, progress=sealed.append)
    unseal_file(room / "a", room / "b", keys, progress=opened.append)
    assert sealed == opened == [CHUNK] * 10 + [5]


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_existing_target_is_left_alone(source, room, keys, key_uri, kind, entries):
    target = room / "target"
    {"file": target.touch, "folder": target.mkdir, "dangling link": lambda: target.symlink_to("nowhere")}[kind]()
    with pytest.raises(SetupError) as caught:
        seal_file(source, target, key_uri=key_uri, keys=keys)
    assert caught.value.id == "models.target"
    assert entries(room) == ["target"]


def test_target_that_appears_meanwhile_is_left_alone(source, room, keys, key_uri, entries):
    target = room / "target"

    def appear(_):
        if not target.exists():
            target.write_text("mine")

    with pytest.raises(SetupError) as caught:
        seal_file(source, target, key_uri=key_uri, keys=keys, chunk_bytes=CHUNK, progress=appear)
    assert caught.value.id == "models.io"
    assert (target.read_text(), entries(room)) == ("mine", ["target"])


@pytest.mark.parametrize("size", [10 * CHUNK, 0, 10 * CHUNK + 6, 20 * CHUNK])
def test_source_that_changes_its_length_is_refused(source, room, keys, key_uri, size, entries):
    with pytest.raises(SetupError) as caught:
        seal_file(source, room / "a", key_uri=key_uri, keys=keys, chunk_bytes=CHUNK,
                  progress=lambda _: os.truncate(source, size))
    assert caught.value.id == "models.source"
    assert entries(room) == []


@pytest.mark.parametrize("at", [0, 4, 10])
def test_altered_file_leaves_nothing_behind(source, room, tmp_path, keys, key_uri, at, entries):
    sealed = tmp_path / "sealed"
    seal_file(source, sealed, key_uri=key_uri, keys=keys, chunk_bytes=CHUNK)
    whole = bytearray(sealed.read_bytes())
    whole[90 + len(key_uri) + at * (CHUNK + 16)] ^= 1
    sealed.write_bytes(whole)
    with pytest.raises(SealedFileError) as caught:
        unseal_file(sealed, room / "a", keys)
    assert (caught.value.id, f"chunk {at} of 11" in caught.value.detail) == ("models.chunk", True)
    assert entries(room) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError, OSError(5, "Input/output error")])
def test_failure_in_the_middle_leaves_nothing_behind(source, room, keys, key_uri, failure, entries):
    def fail(_):
        raise failure

    with pytest.raises((KeyboardInterrupt, MemoryError, SetupError)):
        seal_file(source, room / "a", key_uri=key_uri, keys=keys, chunk_bytes=CHUNK, progress=fail)
    assert entries(room) == []


def test_killed_process_leaves_no_file_under_the_targets_name(source, room, keys, key_uri):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from attestation.models.keys import HeldKeys\n"
        "from attestation.models.seal import seal_file\n"
        f"keys = HeldKeys({{{key_uri!r}: bytes(range(32))}})\n"
        "def wait(_):\n"
        "    print('chunk', flush=True)\n"
        "    time.sleep(60)\n"
        f"seal_file(Path({str(source)!r}), Path({str(room / 'a')!r}), key_uri={key_uri!r}, keys=keys,\n"
        f"          chunk_bytes={CHUNK}, progress=wait)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"chunk\n"
        process.send_signal(signal.SIGKILL)
    left, = room.iterdir()
    assert left.name.startswith(".partial-")
    assert mode(left) == 0o600


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_key_of_wrong_length_seals_nothing(source, room, key_uri, size, entries):
    with pytest.raises(KeyUnavailable) as caught:
        seal_file(source, room / "a", key_uri=key_uri, keys=HeldKeys({key_uri: bytes(size)}))
    assert caught.value.id == "models.key.length"
    assert entries(room) == []


@pytest.mark.parametrize("values", [{"chunk_bytes": 5000}, {"key_uri": "kbs:///only/two"}])
def test_values_outside_the_format_seal_nothing(source, room, key_uri, values, entries):
    keys = HeldKeys({uri: bytes(32) for uri in (key_uri, "kbs:///only/two")})
    with pytest.raises(SetupError) as caught:
        seal_file(source, room / "a", **{"key_uri": key_uri, "keys": keys} | values)
    assert caught.value.id.startswith("models.header.")
    assert entries(room) == []


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_source_that_is_no_regular_file_is_refused(room, tmp_path, keys, key_uri, kind, entries):
    source = tmp_path / kind
    {"missing": lambda: None, "folder": source.mkdir, "pipe": lambda: os.mkfifo(source)}[kind]()
    with pytest.raises(SetupError) as caught:
        seal_file(source, room / "a", key_uri=key_uri, keys=keys)
    assert caught.value.id == ("models.io" if kind == "missing" else "models.path")
    assert entries(room) == []


def test_target_in_a_missing_folder_is_refused(source, room, keys, key_uri):
    with pytest.raises(SetupError) as caught:
        seal_file(source, room / "none" / "a", key_uri=key_uri, keys=keys)
    assert caught.value.id == "models.io"


def test_generated_keys_are_random_private_and_never_overwritten(tmp_path):
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        generate_key_file(path)
        assert mode(path) == 0o600
    assert len({read_key_file(path) for path in paths}) == 20
    assert {len(read_key_file(path)) for path in paths} == {32}
    with pytest.raises(SetupError) as caught:
        generate_key_file(paths[0])
    assert caught.value.id == "models.io"


def test_key_file_is_read_no_further_than_needed_to_refuse_it(tmp_path, source, room, key_uri):
    (tmp_path / "key").write_bytes(bytes(1 << 20))
    keys = HeldKeys.from_files({key_uri: tmp_path / "key"})
    with pytest.raises(KeyUnavailable) as caught:
        seal_file(source, room / "a", key_uri=key_uri, keys=keys)
    assert (caught.value.id, caught.value.got) == ("models.key.length", "33 bytes")


def test_new_folder_appears_whole_or_not_at_all(room, entries):
    with new_folder(room / "a") as folder:
        (folder / "inside").write_text("x")
        assert not (room / "a").exists()
    assert (room / "a" / "inside").read_text() == "x"
    assert mode(room / "a") == 0o700
    with pytest.raises(ZeroDivisionError), new_folder(room / "b") as folder:
        (folder / "inside").write_text(str(1 / 0))
    assert entries(room) == ["a"]
    with pytest.raises(SetupError) as caught, new_folder(room / "a"):
        pytest.fail("worked in a folder that exists")
    assert caught.value.id == "models.target"


def test_new_file_is_not_there_while_it_is_written(room):
    with new_file(room / "a") as file:
        file.write(b"x")
        assert not (room / "a").exists()
    assert (room / "a").read_bytes() == b"x"
