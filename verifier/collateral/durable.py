"""Small files that several processes share: whole or absent, and known to be as written.

A file begins with a line that holds the SHA-256 of the rest. It is written beside its place, made durable, and put into
place by renaming; a crash leaves the old file or the new one. What does not match its digest is not read. The digest
finds accidents, not attackers: whoever may write here may write a digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from verifier.errors import SetupError

_MAGIC = b"attestkit-file/1 "
_HEAD = len(_MAGIC) + 64 + 1
_POLL = 0.02
TEMPORARY = ".tmp-"


def seal(data: bytes) -> bytes:
    """``data`` under its digest."""
    return _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def unseal(sealed: bytes) -> bytes | None:
    """What was sealed; None when it is torn, altered or something else."""
    data = sealed[_HEAD:]
    whole = len(sealed) >= _HEAD and sealed[:_HEAD] == _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n"
    return data if whole else None


def read(path: Path, limit: int) -> bytes | None:
    """The sealed contents of ``path``; None when there is no such file, or it is torn, altered or too large."""
    try:
        with path.open("rb") as file:
            sealed = file.read(limit + _HEAD + 1)
    except OSError:
        return None
    return unseal(sealed) if len(sealed) <= limit + _HEAD else None


def write(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put ``data``, sealed, in the place of ``path``. ``durable`` False may lose it, whole, in a power cut.

    Raises `SetupError`.
    """
    beside = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        _make_folder(path.parent)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(seal(data))
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise SetupError("collateral.cache.write", f"{path} cannot be written: {error.strerror}") from None


def _make_folder(folder: Path) -> None:
    """``folder`` and what is missing above it, for the owner alone; the library gives that to the last one only."""
    missing = [folder, *folder.parents]
    missing = missing[: next((place for place, path in enumerate(missing) if path.is_dir()), len(missing))]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, patience: float) -> Iterator[bool]:
    """Hold the advisory lock of ``path`` between threads and processes; yields False when it was not free in time.

    A process that dies lets go of it. Raises `SetupError` when ``path`` cannot be made.
    """
    try:
        _make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SetupError("collateral.cache.write", f"{path} cannot be written: {error.strerror}") from None
    try:
        yield _taken(handle, patience)
    finally:
        os.close(handle)


def _taken(handle: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL)
        else:
            return True
