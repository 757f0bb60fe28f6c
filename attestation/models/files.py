"""Files and folders that appear under their name complete and on disk, or not at all.

Work happens under a hidden name (``.partial-…``) in the same folder. A failure removes it; a killed process leaves it
behind, readable by its owner only, and never under the name that was asked for. Nothing existing is replaced.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attestation.errors import SetupError

PARTIAL_PREFIX = ".partial-"


@contextmanager
def io_errors(doing: str) -> Iterator[None]:
    """Failures of the operating system inside the block become `SetupError`: the file itself was not judged."""
    try:
        yield
    except OSError as error:
        raise SetupError("models.io", f"{doing}: {error.strerror or type(error).__name__}") from error


def open_regular(path: str | Path, *, folder: int | None = None) -> int:
    """A read-only descriptor of a regular file; the caller closes it.

    folder: descriptor of a folder that ``path`` is a plain name in; then a symbolic link is refused. Raises
    `SetupError`.
    """
    # O_NONBLOCK: opening a pipe that somebody put there must not wait; it has no effect on regular files.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if folder is None else os.O_NOFOLLOW)
    with io_errors(f"cannot open {path}"):
        fd = os.open(path, flags, dir_fd=folder)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    raise SetupError("models.path", f"{path} is not a regular file")


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 that gets its name when the block ends without an error. Raises `SetupError`."""
    _refuse_existing(target)
    with io_errors(f"cannot write {target}"):
        fd, partial = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # A link fails where a rename would replace what somebody else put there meanwhile.
            target.hardlink_to(partial)
            _sync_folder(target.parent)
        finally:
            Path(partial).unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder of mode 0700 that gets its name when the block ends without an error. Raises `SetupError`.

    The block works in the folder that is yielded. An *empty* folder that appears under the name meanwhile is replaced.
    """
    _refuse_existing(target)
    with io_errors(f"cannot write {target}"):
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=target.parent))
        try:
            yield partial
            _sync_folder(partial)
            partial.rename(target)
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise SetupError("models.target", f"{target} exists already; nothing is overwritten")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
