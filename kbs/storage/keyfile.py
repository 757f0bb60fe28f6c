"""Key files: made once at first start, readable by their owner alone.

A key is written whole to a temporary file, flushed to disk and linked to its name, so that it exists complete or not at
all, and of two processes that start together one makes it and both read the same.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from kbs.errors import SetupError

MAX_KEY_FILE_BYTES = 64 * 1024


def read_or_create(path: Path, size: int = 32) -> bytes:
    """The ``size`` random bytes in ``path``, made now if it does not exist. Raises `SetupError`."""
    if not path.exists():
        create(path, secrets.token_bytes(size))
    key = read(path)
    if len(key) != size:
        raise SetupError("storage.key_file.size", f"{path} is not a key of this program",
                         expected=f"{size} bytes", got=f"{len(key)} bytes")
    return key


def create(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` with mode 0600 unless it exists; True when this call made it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write(temporary, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _flush_folder(path.parent)
    return True


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of what ``path`` holds, at once for every reader."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write(temporary, content)
    temporary.replace(path)
    _flush_folder(path.parent)


def read(path: Path) -> bytes:
    """What ``path`` holds. Raises `SetupError` unless it is a plain file that only its owner, who we are, may read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError("storage.key_file.unreadable", f"{path} cannot be opened: {error.strerror}") from None
    try:
        _demand_private(path, os.fstat(descriptor))
        content = os.read(descriptor, MAX_KEY_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_KEY_FILE_BYTES:
        raise SetupError("storage.key_file.size", f"{path} is no key file", expected=f"<= {MAX_KEY_FILE_BYTES} bytes")
    return content


def private_folder(path: Path) -> Path:
    """``path`` as a folder with mode 0700, made with its parents if need be.

    Raises `SetupError` when others may enter it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.stat()
    if found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise SetupError("storage.folder.mode", f"{path} must belong to this user and be closed to all others: "
                         f"chmod 700 {path}", expected="0700", got=oct(stat.S_IMODE(found.st_mode)))
    return path


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _demand_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SetupError("storage.key_file.kind", f"{path} is not a plain file")
    if found.st_mode & 0o077:
        raise SetupError("storage.key_file.mode", f"{path} may be read by others: chmod 600 {path}",
                         expected="0600", got=oct(stat.S_IMODE(found.st_mode)))
    if found.st_uid != os.geteuid():
        raise SetupError("storage.key_file.owner", f"{path} belongs to another user",
                         expected=os.geteuid(), got=found.st_uid)
