"""The kernel's report folder as a model in memory, and a software TEE that makes real-shaped reports for it.

The model follows drivers/virt/coco (report.c, formerly tsm.c), tdx-guest and sev-guest, and configfs itself:

* a folder starts at generation 0; every write of ``inblob`` or an option that is accepted counts one up; a write that
  would bring the counter round to the last report's generation is refused with EBUSY;
* what is written to ``inblob`` is applied when the file is closed, and what the provider says then is lost;
* ``outblob`` and ``auxblob`` are made together when the counter has moved since they were last made;
* without ``inblob`` a read is EINVAL; both providers want exactly 64 bytes;
* attributes that the provider lacks do not exist; write-only ones cannot be read, read-only ones not written.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from verifier.software_tee.maker import SoftwareTee

ROOT = Path("/sys/kernel/config/tsm/report")
READ_ONLY = {"provider", "outblob", "auxblob", "generation", "privlevel_floor"}
WRITE_ONLY = {"inblob", "privlevel"}
SEV_ONLY = {"auxblob", "privlevel", "privlevel_floor"}


def failing(number: int) -> OSError:
    return OSError(number, errno.errorcode[number])


@dataclass
class Folder:
    write_generation: int = 0
    read_generation: int = 0
    inblob: bytes = b""
    privlevel: int = 0
    outblob: bytes | None = None
    auxblob: bytes = b""


@dataclass
class TsmKernel:
    """``make``: report data and privilege level to (outblob, auxblob), may raise `OSError`.

    before: called before every operation with its name and attribute, and may interfere or raise. calls: what was done.
    """

    provider: str | None
    make: Callable[[bytes, int], tuple[bytes, bytes]]
    floor: int = 0
    modulus: int = 2**64
    exists: bool = True
    folders: dict[str, Folder] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    before: list[Callable[[str, str], None]] = field(default_factory=list)
    others: dict[Path, bytes | int] = field(default_factory=dict)
    reports_made: int = 0

    def make_folder(self, path: Path) -> None:
        self._enter("mkdir", "")
        if not self.exists or path.parent != ROOT:
            raise failing(errno.ENOENT)
        if self.provider is None:
            raise failing(errno.ENXIO)
        if path.name in self.folders:
            raise failing(errno.EEXIST)
        self.folders[path.name] = Folder()

    def remove_folder(self, path: Path) -> None:
        self._enter("rmdir", "")
        if path.name not in self.folders:
            raise failing(errno.ENOENT)
        del self.folders[path.name]

    def write(self, path: Path, data: bytes) -> None:
        self._enter("write", path.name)
        folder = self._folder(path, WRITE_ONLY, READ_ONLY)
        if path.name == "privlevel":
            level = self._level(data)
            self._advance(folder)
            folder.privlevel = level
        elif len(data) > 64:
            raise failing(errno.EFBIG)
        else:
            self._close_inblob(folder, data)

    def _close_inblob(self, folder: Folder, data: bytes) -> None:
        try:
            self._advance(folder)
        except OSError:
            return
        folder.inblob = data

    def read(self, path: Path, limit: int) -> bytes:
        self._enter("read", path.name)
        if path in self.others:
            content = self.others[path]
            if isinstance(content, int):
                raise failing(content)
        elif not path.is_relative_to(ROOT):
            raise failing(errno.ENOENT)
        else:
            content = self._attribute(self._folder(path, READ_ONLY, WRITE_ONLY), path.name)
        if len(content) > limit:
            raise failing(errno.EFBIG)
        return content

    def _enter(self, operation: str, attribute: str) -> None:
        self.calls.append((operation, attribute))
        for interfere in list(self.before):
            interfere(operation, attribute)

    def _folder(self, path: Path, allowed: set[str], forbidden: set[str]) -> Folder:
        folder = self.folders.get(path.parent.name)
        if folder is None or (path.name in SEV_ONLY and self.provider != "sev_guest"):
            raise failing(errno.ENOENT)
        if path.name in forbidden:
            raise failing(errno.EACCES)
        if path.name not in allowed:
            raise failing(errno.ENOENT)
        return folder

    def _level(self, data: bytes) -> int:
        text = data.removesuffix(b"\n")
        if not text.isdigit() or not self.floor <= int(text) <= 3:
            raise failing(errno.EINVAL)
        return int(text)

    def _advance(self, folder: Folder) -> None:
        if folder.write_generation == (folder.read_generation - 1) % self.modulus:
            raise failing(errno.EBUSY)
        folder.write_generation = (folder.write_generation + 1) % self.modulus

    def _attribute(self, folder: Folder, name: str) -> bytes:
        if name == "provider":
            return f"{self.provider}\n".encode()
        if name == "privlevel_floor":
            return f"{self.floor}\n".encode()
        if name == "generation":
            return f"{folder.write_generation}\n".encode()
        if not folder.inblob:
            raise failing(errno.EINVAL)
        if folder.outblob is None or folder.read_generation != folder.write_generation:
            self._new_report(folder)
        return folder.outblob if name == "outblob" else folder.auxblob  # type: ignore[return-value]

    def _new_report(self, folder: Folder) -> None:
        folder.outblob = None
        if len(folder.inblob) != 64:
            raise failing(errno.EINVAL)
        self.reports_made += 1
        folder.outblob, folder.auxblob = self.make(folder.inblob, folder.privlevel)
        folder.read_generation = folder.write_generation

    # -- what other processes and the host do --------------------------------------------------------------------------

    def only_folder(self) -> Folder:
        """The folder in use."""
        (folder,) = self.folders.values()
        return folder

    def interfere_once(self, operation: str, attribute: str, act: Callable[[Folder], None]) -> None:
        """``act`` on the folder just before the first such operation."""
        done: list[bool] = []

        def before(now: str, on: str) -> None:
            if (now, on) == (operation, attribute) and not done:
                done.append(True)
                act(self.only_folder())

        self.before.append(before)

    def fail_call(self, index: int, number: int) -> None:
        """The ``index``-th operation, from 0, fails once with errno ``number``."""

        def before(_now: str, _on: str) -> None:
            if len(self.calls) == index + 1:
                raise failing(number)

        self.before.append(before)


@pytest.fixture(scope="session")
def software_tee() -> SoftwareTee:
    return SoftwareTee.create(at=1_700_000_000)


@pytest.fixture
def tdx_kernel(software_tee: SoftwareTee) -> TsmKernel:
    return TsmKernel("tdx_guest", lambda report_data, _: (software_tee.evidence("tdx", report_data).quote, b""))


@pytest.fixture
def snp_kernel(software_tee: SoftwareTee) -> TsmKernel:
    return TsmKernel("sev_guest", lambda report_data, _: (software_tee.evidence("snp", report_data).quote, b""))
