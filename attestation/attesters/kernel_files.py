"""The four file operations that attesters need, as a port: tests put a model of the kernel behind it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol


class KernelFiles(Protocol):
    """Operations on kernel attributes. All of them raise `OSError` with the kernel's errno."""

    def make_folder(self, path: Path) -> None:
        """``mkdir``; the parent must exist."""

    def remove_folder(self, path: Path) -> None:
        """``rmdir``; the kernel's own attributes in it do not count."""

    def write(self, path: Path, data: bytes) -> None:
        """Open, write ``data`` in one call, close. The kernel may act on ``data`` only when the file is closed."""

    def read(self, path: Path, limit: int) -> bytes:
        """The whole attribute; raises EFBIG when it has more than ``limit`` bytes."""


class OsFiles:
    """The operating system's own. Links are not followed."""

    def make_folder(self, path: Path) -> None:
        """See `KernelFiles.make_folder`."""
        path.mkdir(mode=0o700)

    def remove_folder(self, path: Path) -> None:
        """See `KernelFiles.remove_folder`."""
        path.rmdir()

    def write(self, path: Path, data: bytes) -> None:
        """See `KernelFiles.write`."""
        number = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            written = os.write(number, data)
        finally:
            os.close(number)
        if written != len(data):
            raise OSError(errno.EIO, "short write")

    def read(self, path: Path, limit: int) -> bytes:
        """See `KernelFiles.read`."""
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(number, "rb", buffering=0) as file:
            content = bytearray()
            while chunk := file.read(min(65536, limit + 1 - len(content))):
                content += chunk
                if len(content) > limit:
                    raise OSError(errno.EFBIG, "longer than it may be")
        return bytes(content)
