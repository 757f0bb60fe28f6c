"""All or nothing: what a failing, killed or competing writer leaves behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from attestation.errors import SetupError
from attestation.images.layout_writer import write_layout


def _write(target, *blobs: bytes) -> None:
    with write_layout(target) as writer:
        for blob in blobs:
            writer.put(blob)
        writer.finish(b"{}")


def test_target_appears_whole_and_private(tmp_path, world):
    _write(tmp_path / "target", b"one", b"two", b"one")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    blobs = {f"target/blobs/sha256/{world.digest(data)[7:]}" for data in (b"one", b"two")}
    assert names == {"target", "target/blobs", "target/blobs/sha256", "target/index.json", "target/oci-layout"} | blobs
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name in ("blobs", "sha256")
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o700


def test_nothing_has_the_targets_name_before_the_end(tmp_path):
    with write_layout(tmp_path / "target") as writer:
        writer.put(b"one")
        assert not (tmp_path / "target").exists()
        (staging,) = tmp_path.iterdir()
        assert stat.S_IMODE(staging.stat().st_mode) == 0o700
        writer.finish(b"{}")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_ends_the_writing_leaves_nothing(tmp_path, error):
    def write_and_fail() -> None:
        with write_layout(tmp_path / "target") as writer:
            writer.put(b"one")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), lambda path: path.write_bytes(b"mine"), lambda path: path.symlink_to("nowhere")],
    ids=["folder", "file", "broken-link"],
)
def test_whatever_has_the_targets_name_is_left_alone(tmp_path, make):
    make(tmp_path / "target")
    before = (tmp_path / "target").lstat()
    with pytest.raises(SetupError) as caught:
        _write(tmp_path / "target", b"one")
    assert caught.value.id == "image.target"
    assert (tmp_path / "target").lstat() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_target_that_appears_meanwhile_is_left_alone(tmp_path, outcome):
    def write() -> None:
        with write_layout(tmp_path / "target") as writer:
            writer.finish(b"{}")
            (tmp_path / "target").mkdir()

    assert outcome(write) == "image.target"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert list((tmp_path / "target").iterdir()) == []


def test_folder_that_is_missing_is_a_setup_error(tmp_path):
    with pytest.raises(SetupError) as caught:
        _write(tmp_path / "none" / "target")
    assert caught.value.id == "image.write"


def test_full_disk_is_a_setup_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError) as caught:
        _write(tmp_path / "target", b"one")
    assert caught.value.id == "image.write"
    assert list(tmp_path.iterdir()) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from attestation.images.layout_writer import write_layout
with write_layout(Path(sys.argv[1])) as writer:
    writer.put(b"plaintext")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_private_and_goes_with_the_next_run(tmp_path):
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "target")], check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".target.partial-")
        assert stat.S_IMODE(left.stat().st_mode) == 0o700
    _write(tmp_path / "target", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_running_writer_of_the_same_target_is_not_swept_away(tmp_path, outcome):
    def write() -> None:
        with write_layout(tmp_path / "target") as slow:
            slow.put(b"one")
            _write(tmp_path / "target", b"two")
            slow.put(b"three")
            slow.finish(b"{}")

    assert outcome(write) == "image.target"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_sweeping_touches_no_other_names_and_follows_no_links(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / ".target.partial-link").symlink_to(tmp_path / "precious")
    (tmp_path / ".target.partial-file").write_bytes(b"")
    (tmp_path / ".other.partial-x").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    _write(tmp_path / "target", b"one")
    assert {path.name for path in tmp_path.iterdir()} == before | {"target"}
