"""The kernel's door to reports: ``/sys/kernel/config/tsm/report`` (Documentation/ABI/testing/configfs-tsm-report).

One report takes, in a folder of its own:

    1  mkdir             a name nobody else uses
    2  read provider     must be the expected one
    3  write privlevel   SEV only, decimal text, not below privlevel_floor
    4  write inblob      the report data; the kernel applies it when the file is closed and reports no failure there
    5  read outblob      makes the report; then auxblob where the provider has one
    6  read generation   must equal the number of our own writes, or somebody else wrote in between
    7  rmdir             always

Anything another process did to the folder shows in step 6, or in the report itself not carrying our report data: both
start over in a fresh folder, as do EBUSY, EINTR, EAGAIN, ETIMEDOUT and an empty outblob. Any other errno is final.
"""

from __future__ import annotations

import errno
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attestation.attesters.base import binds, require_report_data
from attestation.attesters.kernel_files import KernelFiles, OsFiles
from attestation.errors import AttesterError

REPORT_ROOT = Path("/sys/kernel/config/tsm/report")
SEV_GUEST, TDX_GUEST = "sev_guest", "tdx_guest"

MAX_OUTBLOB_BYTES = 64 * 1024
MAX_AUXBLOB_BYTES = 256 * 1024
MAX_TEXT_BYTES = 4096
MAX_PRIVLEVEL = 3

ATTEMPTS = 8
FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0

_TRANSIENT = {errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT}
_ADVICE = {
    errno.ENOENT: "the kernel offers no reports: is configfs mounted, and the TEE's guest driver loaded?",
    errno.ENXIO: "no TEE is registered with the kernel: is this a confidential guest, and its guest driver loaded?",
    errno.EACCES: "no permission: evidence is for root, or for a process that was given the folder",
    errno.EPERM: "no permission: evidence is for root, or for a process that was given the folder",
    errno.EINVAL: "the kernel refuses the report data or the privilege level",
    errno.EFBIG: "larger than it may be",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TsmReport:
    """What the provider made: ``outblob`` is the signed report or quote, ``auxblob`` the host's certificate table."""

    outblob: bytes
    auxblob: bytes = b""


class _Again(Exception):
    """Not an error: it starts the next attempt."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class ConfigfsTsm:
    """Makes reports. ``files`` and ``sleep`` are replaced in tests."""

    def __init__(self, root: Path = REPORT_ROOT, *, files: KernelFiles | None = None,
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._root = root
        self._files = files or OsFiles()
        self._sleep = sleep

    def provider(self) -> str | None:
        """The provider's name (``tdx_guest``), or None when the kernel has no such folder at all."""
        try:
            with self._folder() as folder:
                return self._text(folder / "provider")
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise _failed(error) from None

    def report(self, provider: str, report_data: bytes, report_data_of: Callable[[bytes], bytes], *,
               privlevel: int | None = None) -> TsmReport:
        """A report over ``report_data`` (64 bytes) from ``provider`` and no other.

        report_data_of: reads the report data back out of an outblob; raises whatever it likes. privlevel: for
        ``sev_guest`` the VMPL, None is the lowest number this guest may use. Raises `AttesterError`.
        """
        require_report_data(report_data)
        why = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(random.uniform(0.5, 1) * min(LONGEST_DELAY, FIRST_DELAY * 2**attempt))  # noqa: S311
            try:
                report = self._attempt(provider, report_data, privlevel)
            except _Again as again:
                why = again.why
                continue
            if binds(report_data_of(report.outblob), report_data):
                return report
            why = "the report carries other report data"
        raise AttesterError("attester.tsm.busy", f"no report after {ATTEMPTS} attempts; lastly: {why}")

    def _attempt(self, provider: str, report_data: bytes, privlevel: int | None) -> TsmReport:
        try:
            with self._folder() as folder:
                self._require_provider(folder, provider)
                writes = self._choose_privlevel(folder, privlevel) if provider == SEV_GUEST else 0
                self._files.write(folder / "inblob", report_data)
                report = self._read_report(folder, has_auxblob=provider == SEV_GUEST)
                self._require_generation(folder, writes + 1)
                return report
        except OSError as error:
            if error.errno in _TRANSIENT or error.errno == errno.EEXIST:
                raise _Again(f"the kernel answered {_name(error)}") from None
            raise _failed(error) from None

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self._root / f"attestkit-{secrets.token_hex(16)}"
        self._files.make_folder(folder)
        try:
            yield folder
        finally:
            try:
                self._files.remove_folder(folder)
            except OSError as error:
                _log.warning("the report folder %s could not be removed (%s)", folder.name, _name(error))

    def _require_provider(self, folder: Path, provider: str) -> None:
        got = self._text(folder / "provider")
        if got != provider:
            raise AttesterError("attester.tsm.provider", "reports come from another kind of TEE", expected=provider,
                                got=got)

    def _choose_privlevel(self, folder: Path, privlevel: int | None) -> int:
        floor = self._number(folder / "privlevel_floor")
        chosen = floor if privlevel is None else privlevel
        if not floor <= chosen <= MAX_PRIVLEVEL:
            raise AttesterError("attester.tsm.privlevel", "this guest may not use that privilege level",
                                expected=f"{floor} to {MAX_PRIVLEVEL}", got=chosen)
        self._files.write(folder / "privlevel", str(chosen).encode())
        return 1

    def _read_report(self, folder: Path, *, has_auxblob: bool) -> TsmReport:
        outblob = self._files.read(folder / "outblob", MAX_OUTBLOB_BYTES)
        if not outblob:
            raise _Again("the report was empty")
        return TsmReport(outblob, self._files.read(folder / "auxblob", MAX_AUXBLOB_BYTES) if has_auxblob else b"")

    def _require_generation(self, folder: Path, writes: int) -> None:
        generation = self._number(folder / "generation")
        if generation != writes:
            raise _Again(f"somebody else used the folder: generation {generation} after {writes} writes of ours")

    def _text(self, path: Path) -> str:
        return self._files.read(path, MAX_TEXT_BYTES).decode("ascii", "replace").removesuffix("\n")

    def _number(self, path: Path) -> int:
        text = self._text(path)
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise AttesterError("attester.tsm.number", f"{path.name} is no number", got=text[:32])
        return int(text)


def _failed(error: OSError) -> AttesterError:
    advice = _ADVICE.get(error.errno or 0, "the kernel refused")
    return AttesterError("attester.tsm.io", f"{advice} ({_name(error)})")


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
