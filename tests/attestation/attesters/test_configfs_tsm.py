"""The sequence at the kernel's door, over a model of the kernel, with other writers and a failing host."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from attestation.attesters import configfs_tsm
from attestation.attesters.configfs_tsm import ATTEMPTS, SEV_GUEST, TDX_GUEST, ConfigfsTsm, TsmReport
from attestation.attesters.kernel_files import OsFiles
from attestation.errors import AttesterError

DATA = bytes(range(64))
OTHER = bytes(64)


def echo(outblob: bytes) -> bytes:
    """The reports of the plain kernels below are the report data behind a prefix."""
    return outblob.removeprefix(b"report:")


@pytest.fixture
def kernel(tdx_kernel: Any) -> Any:
    tdx_kernel.make = lambda report_data, _: (b"report:" + report_data, b"")
    return tdx_kernel


@pytest.fixture
def sev_kernel(snp_kernel: Any) -> Any:
    snp_kernel.make = lambda report_data, level: (b"report:" + report_data, b"certificates %d" % level)
    return snp_kernel


@pytest.fixture
def slept() -> list[float]:
    return []


def door(kernel: Any, slept: list[float] | None = None) -> ConfigfsTsm:
    return ConfigfsTsm(files=kernel, sleep=(slept if slept is not None else []).append)


def refused(kernel: Any, provider: str = TDX_GUEST, **options: Any) -> str:
    with pytest.raises(AttesterError) as caught:
        door(kernel).report(provider, options.pop("data", DATA), echo, **options)
    assert kernel.folders == {}
    return caught.value.id


def test_tdx_report_takes_the_steps_in_order_and_leaves_nothing_behind(kernel: Any) -> None:
    assert door(kernel).report(TDX_GUEST, DATA, echo) == TsmReport(b"report:" + DATA)
    assert kernel.calls == [("mkdir", ""), ("read", "provider"), ("write", "inblob"), ("read", "outblob"),
                            ("read", "generation"), ("rmdir", "")]
    assert kernel.folders == {}


def test_sev_report_sets_the_privilege_level_and_brings_the_certificates(sev_kernel: Any) -> None:
    assert door(sev_kernel).report(SEV_GUEST, DATA, echo) == TsmReport(b"report:" + DATA, b"certificates 0")
    assert sev_kernel.calls == [
        ("mkdir", ""), ("read", "provider"), ("read", "privlevel_floor"), ("write", "privlevel"), ("write", "inblob"),
        ("read", "outblob"), ("read", "auxblob"), ("read", "generation"), ("rmdir", "")]
    assert sev_kernel.reports_made == 1


def test_privilege_level_is_the_floor_unless_told_otherwise(sev_kernel: Any) -> None:
    sev_kernel.floor = 2
    assert door(sev_kernel).report(SEV_GUEST, DATA, echo).auxblob == b"certificates 2"
    assert door(sev_kernel).report(SEV_GUEST, DATA, echo, privlevel=3).auxblob == b"certificates 3"


@pytest.mark.parametrize("privlevel", [0, 1, 4, -1])
def test_privilege_level_out_of_range_is_refused(sev_kernel: Any, privlevel: int) -> None:
    sev_kernel.floor = 2
    assert refused(sev_kernel, SEV_GUEST, privlevel=privlevel) == "attester.tsm.privlevel"


@pytest.mark.parametrize("size", [0, 1, 48, 63, 65, 128])
def test_report_data_of_another_length_is_refused_before_the_kernel_is_asked(kernel: Any, size: int) -> None:
    assert refused(kernel, data=bytes(size)) == "attester.report_data"
    assert kernel.calls == []


def test_report_of_another_provider_is_refused(kernel: Any) -> None:
    kernel.provider = "arm_cca_guest"
    assert refused(kernel) == "attester.tsm.provider"


@pytest.mark.parametrize(("operation", "attribute"), [
    ("read", "outblob"), ("read", "generation"), ("write", "inblob"),
])
def test_other_writer_at_any_moment_makes_it_start_over_in_a_fresh_folder(
    kernel: Any, slept: list[float], operation: str, attribute: str,
) -> None:
    def write(folder: Any) -> None:
        kernel._advance(folder)
        folder.inblob = OTHER

    kernel.interfere_once(operation, attribute, write)
    assert door(kernel, slept).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert kernel.calls.count(("mkdir", "")) == 2
    assert len(slept) == 1


def test_other_writer_between_report_and_certificates_makes_it_start_over(sev_kernel: Any) -> None:
    def write(folder: Any) -> None:
        sev_kernel._advance(folder)
        folder.inblob = OTHER

    sev_kernel.interfere_once("read", "auxblob", write)
    assert door(sev_kernel).report(SEV_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert sev_kernel.reports_made == 3  # ours, one for the certificates of the other writer's, ours again


def test_write_that_the_kernel_lost_is_noticed_although_the_count_is_right(kernel: Any) -> None:
    """Closing ``inblob`` reports no failure; if another's write is counted in its place, only the report tells."""
    def replace(folder: Any) -> None:
        folder.inblob = OTHER

    kernel.interfere_once("read", "outblob", replace)
    assert door(kernel).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert kernel.calls.count(("mkdir", "")) == 2


def test_report_that_always_carries_other_report_data_is_refused(kernel: Any) -> None:
    kernel.make = lambda *_: (b"report:" + OTHER, b"")
    assert refused(kernel) == "attester.tsm.busy"
    assert kernel.calls.count(("mkdir", "")) == ATTEMPTS


def test_counter_that_came_round_is_refused_by_the_kernel_and_noticed(kernel: Any) -> None:
    kernel.modulus = 1  # every write would bring the counter back to where the last report was made
    assert refused(kernel) == "attester.tsm.io"  # the lost write leaves inblob unset: EINVAL


def test_empty_report_makes_it_start_over(kernel: Any) -> None:
    answers = [b"", b"report:" + DATA]
    kernel.make = lambda *_: (answers.pop(0), b"")
    assert door(kernel).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA


def test_always_empty_report_is_refused(kernel: Any) -> None:
    kernel.make = lambda *_: (b"", b"")
    assert refused(kernel) == "attester.tsm.busy"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EINTR, errno.ETIMEDOUT, errno.EAGAIN])
def test_busy_provider_is_asked_again_with_growing_pauses(kernel: Any, slept: list[float], number: int) -> None:
    left = [number] * 4

    def make(report_data: bytes, _: int) -> tuple[bytes, bytes]:
        if left:
            raise OSError(left.pop(), "")
        return b"report:" + report_data, b""

    kernel.make = make
    assert door(kernel, slept).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert len(slept) == 4
    for attempt, pause in enumerate(slept, start=1):
        longest = min(configfs_tsm.LONGEST_DELAY, configfs_tsm.FIRST_DELAY * 2**attempt)
        assert longest / 2 <= pause <= longest


def test_busy_provider_is_not_asked_for_ever(kernel: Any) -> None:
    def make(*_: Any) -> tuple[bytes, bytes]:
        raise OSError(errno.EBUSY, "")

    kernel.make = make
    assert refused(kernel) == "attester.tsm.busy"
    assert kernel.calls.count(("mkdir", "")) == ATTEMPTS


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.EINVAL, errno.ENOMEM, errno.EFBIG, errno.ESTALE])
def test_other_failure_of_the_provider_is_final(kernel: Any, number: int) -> None:
    def make(*_: Any) -> tuple[bytes, bytes]:
        raise OSError(number, "")

    kernel.make = make
    assert refused(kernel) == "attester.tsm.io"
    assert kernel.calls.count(("mkdir", "")) == 1


@pytest.mark.parametrize(("attribute", "size"), [("outblob", configfs_tsm.MAX_OUTBLOB_BYTES),
                                                 ("auxblob", configfs_tsm.MAX_AUXBLOB_BYTES)])
def test_oversized_blob_is_refused(sev_kernel: Any, attribute: str, size: int) -> None:
    big = bytes(size + 1)
    sev_kernel.make = lambda report_data, _: (big, b"") if attribute == "outblob" else (b"report:" + report_data, big)
    assert refused(sev_kernel, SEV_GUEST) == "attester.tsm.io"


@pytest.mark.parametrize("text", [b"", b"-1\n", b"1 \n", b"one\n", b"0x1\n", b"\xb2\n", b"1\n1\n", b"9" * 21])
def test_number_that_is_none_is_refused(kernel: Any, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    real = kernel._attribute
    monkeypatch.setattr(kernel, "_attribute", lambda folder, name: text if name == "generation" else real(folder, name))
    assert refused(kernel) == "attester.tsm.number"


FINAL = [errno.EIO, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ENOENT, errno.ENODEV]
TRANSIENT = [errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.EAGAIN]
SEV_STEPS = 9


@pytest.mark.parametrize("step", range(SEV_STEPS - 1))
@pytest.mark.parametrize("number", FINAL, ids=errno.errorcode.get)
def test_host_that_fails_one_step_gets_no_report_with_fewer_checks(sev_kernel: Any, step: int, number: int) -> None:
    sev_kernel.fail_call(step, number)
    assert refused(sev_kernel, SEV_GUEST) == "attester.tsm.io"


@pytest.mark.parametrize("step", range(SEV_STEPS - 1))
@pytest.mark.parametrize("number", TRANSIENT, ids=errno.errorcode.get)
def test_passing_failure_of_one_step_repeats_every_step(sev_kernel: Any, step: int, number: int) -> None:
    sev_kernel.fail_call(step, number)
    assert door(sev_kernel).report(SEV_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert sev_kernel.calls[-SEV_STEPS:] == [
        ("mkdir", ""), ("read", "provider"), ("read", "privlevel_floor"), ("write", "privlevel"), ("write", "inblob"),
        ("read", "outblob"), ("read", "auxblob"), ("read", "generation"), ("rmdir", "")]
    assert sev_kernel.folders == {}


def test_folder_that_cannot_be_removed_is_told_and_does_not_hide_the_report(
    kernel: Any, caplog: pytest.LogCaptureFixture,
) -> None:
    kernel.fail_call(5, errno.EIO)
    assert door(kernel).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert "could not be removed (EIO)" in caplog.text


def test_name_that_is_taken_is_replaced_by_another(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["one", "one", "two"])
    monkeypatch.setattr(configfs_tsm.secrets, "token_hex", lambda _: next(names))
    kernel.make_folder(configfs_tsm.REPORT_ROOT / "attestkit-one")
    assert door(kernel).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert set(kernel.folders) == {"attestkit-one"}


def test_reports_wanted_at_once_use_folders_of_their_own(kernel: Any) -> None:
    again = door(kernel)

    def second(operation: str, attribute: str) -> None:
        if (operation, attribute) == ("read", "generation") and len(kernel.folders) == 1:
            assert again.report(TDX_GUEST, OTHER, echo).outblob == b"report:" + OTHER

    kernel.before.append(second)
    assert door(kernel).report(TDX_GUEST, DATA, echo).outblob == b"report:" + DATA
    assert kernel.calls.count(("mkdir", "")) == 2


def test_provider_is_told_without_making_a_report(kernel: Any) -> None:
    assert door(kernel).provider() == "tdx_guest"
    assert kernel.reports_made == 0
    assert kernel.folders == {}


def test_real_files_are_written_and_read_whole(tmp_path: Path) -> None:
    files = OsFiles()
    files.make_folder(tmp_path / "report")
    (tmp_path / "report" / "inblob").touch()
    files.write(tmp_path / "report" / "inblob", DATA)
    assert files.read(tmp_path / "report" / "inblob", 64) == DATA
    with pytest.raises(OSError, match="longer than it may be") as caught:
        files.read(tmp_path / "report" / "inblob", 63)
    assert caught.value.errno == errno.EFBIG
    (tmp_path / "report" / "inblob").unlink()
    files.remove_folder(tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_real_files_create_nothing_and_follow_no_link(tmp_path: Path) -> None:
    files = OsFiles()
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "absent", b"x")
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for act in (lambda: files.read(tmp_path / "link", 9), lambda: files.write(tmp_path / "link", b"y")):
        with pytest.raises(OSError, match="symbolic") as caught:
            act()
        assert caught.value.errno == errno.ELOOP


def test_short_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inblob").touch()
    monkeypatch.setattr(os, "write", lambda number, data: len(data) - 1)
    with pytest.raises(OSError, match="short write"):
        OsFiles().write(tmp_path / "inblob", DATA)
