"""Writing an OCI image layout: all of it under the target's name, or nothing.

Everything is written into a private folder (mode 0700) beside the target and renamed when it is complete and on disk.
A failure removes the folder. A killed process cannot, so the next run for the same target removes what it left: a lock
on the folder, held as long as its writer lives, tells the two apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from attestation.errors import SetupError
from attestation.images.descriptor import digest_of
from attestation.images.oci_layout import LAYOUT_VERSION


class BlobWriter:
    """One blob on its way into the staging folder; ``digest`` and ``size`` tell what was written so far."""

    __slots__ = ("_digest", "_file", "size")

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append ``chunk``."""
        self._file.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)

    def written(self) -> BinaryIO:
        """The file, for reading back what was written. Nothing may be written after."""
        self._file.flush()
        return self._file

    @property
    def digest(self) -> str:
        """Digest text of everything written."""
        return "sha256:" + self._digest.hexdigest()


class LayoutWriter:
    """A layout under construction; use `write_layout`."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._blobs = staging / "blobs" / "sha256"
        with writing("the layout"):
            self._blobs.mkdir(parents=True)
        self._numbers = itertools.count()

    def has(self, digest: str) -> bool:
        """Whether a blob of this (checked) digest is there already."""
        return self._path(digest).exists()

    @contextmanager
    def blob(self) -> Iterator[BlobWriter]:
        """A new blob, which gets its name when the block ends without an exception."""
        path = self._staging / f"incoming-{next(self._numbers)}"
        with writing("a blob"):
            with _create(path) as file:
                writer = BlobWriter(file)
                yield writer
                _flush(file)
            path.rename(self._path(writer.digest))

    def put(self, data: bytes) -> tuple[str, int]:
        """A small blob as a whole; its digest and size."""
        if not self.has(digest_of(data)):
            with self.blob() as writer:
                writer.write(data)
        return digest_of(data), len(data)

    def finish(self, index: bytes) -> None:
        """Write what makes the folder a layout, and bring its names to disk."""
        with writing("the layout"):
            self._file("index.json", index)
            self._file("oci-layout", b'{"imageLayoutVersion":"%s"}' % LAYOUT_VERSION.encode())
            for folder in (self._blobs, self._blobs.parent, self._staging):
                _sync_folder(folder)

    def _file(self, name: str, data: bytes) -> None:
        with _create(self._staging / name) as file:
            file.write(data)
            _flush(file)

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")


@contextmanager
def write_layout(target: Path) -> Iterator[LayoutWriter]:
    """A layout that appears as ``target`` when the block ends without an exception, and leaves no trace otherwise.

    Raises `SetupError` when something has that name already, or the folder around it cannot be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link that has the target's name
    _must_be_free(target)
    with writing(f"beside {target}"):
        _sweep(target)
        staging = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        with _locked(staging):
            yield LayoutWriter(staging)
            _must_be_free(target)
            with writing(str(target)):
                staging.rename(target)
                _sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Whatever the system refuses while writing inside the block becomes `SetupError`."""
    try:
        yield
    except OSError as error:
        raise SetupError("image.write", f"cannot write {what}: {os.strerror(error.errno or errno.EIO)}") from None


def _must_be_free(target: Path) -> None:
    if os.path.lexists(target):
        raise SetupError("image.target", "the target exists already and is left as it is", got=str(target))


def _prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _sweep(target: Path) -> None:
    """Remove what killed writers of this target left."""
    for path in target.parent.iterdir():
        if path.name.startswith(_prefix(target)):
            with suppress(SetupError), _locked(path):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raises `SetupError` when another process holds it."""
    with writing(str(folder)):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with writing(str(folder)):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
