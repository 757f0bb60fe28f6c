"""Reading an OCI image layout (image specification, image-layout.md): ``oci-layout``, ``index.json``, ``blobs/sha256``.

Every file is opened below an open folder, never through a link, and must be a regular file of the size its descriptor
names. Names of blobs come from checked digests only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from attestation.errors import ImageIntegrityError, MalformedImage, SetupError
from attestation.images.descriptor import Descriptor
from attestation.images.documents import read_object, shown
from attestation.images.limits import Limits

LAYOUT_VERSION = "1.0.0"
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024

# O_NONBLOCK: opening a pipe that somebody put there must not wait; it has no effect on regular files.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Layout:
    """An open layout; use `open_layout`."""

    _root: int
    _blobs: int
    limits: Limits

    def index(self) -> bytes:
        """The bytes of ``index.json``. Nothing but the layout itself vouches for them."""
        return _read_small(self._root, "index.json")

    def document(self, descriptor: Descriptor) -> bytes:
        """A small blob as a whole, of the size and digest its descriptor names."""
        _bounded(descriptor, MAX_DOCUMENT_BYTES)
        with self.blob(descriptor) as file:
            return b"".join(verified_chunks(file, descriptor))

    @contextmanager
    def blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        """A blob opened for reading. Its size was compared, its digest was not: see `verified_chunks`."""
        _bounded(descriptor, self.limits.blob_bytes)
        with reading("a blob"), _open_regular(self._blobs, descriptor.digest.removeprefix("sha256:")) as file:
            size = os.fstat(file.fileno()).st_size
            if size != descriptor.size:
                raise ImageIntegrityError("image.blob.size", "a blob does not have the size its descriptor names",
                                          expected=f"{descriptor.size} bytes", got=f"{size} bytes")
            yield file


@contextmanager
def open_layout(path: Path, limits: Limits) -> Iterator[Layout]:
    """The layout in the folder ``path``, which itself may be reached through links.

    Raises `SetupError` when there is no such folder and `MalformedImage` when it is no layout.
    """
    with ExitStack() as stack:
        with reading(str(path)):
            root = _folder(stack, path)
        marker = read_object(_read_small(root, "oci-layout"), "oci-layout", "image.layout", limit=1024)
        if marker.get("imageLayoutVersion") != LAYOUT_VERSION:
            raise MalformedImage("image.layout", "not an OCI image layout of this version", expected=LAYOUT_VERSION,
                                 got=shown(str(marker.get("imageLayoutVersion"))))
        with reading("blobs/sha256"), _within_layout("blobs/sha256"):
            outer = _folder(stack, "blobs", below=root)
            blobs = _folder(stack, "sha256", below=outer)
        yield Layout(root, blobs, limits)


def chunks(file: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The file from its start, in pieces of at most ``size`` bytes."""
    with reading("a blob"):
        file.seek(0)
    while chunk := _read(file, size):
        yield chunk


def _read(file: BinaryIO, size: int) -> bytes:
    with reading("a blob"):
        return file.read(size)


def verified_chunks(file: BinaryIO, descriptor: Descriptor) -> Iterator[bytes]:
    """As `chunks`; raises `ImageIntegrityError` after the last unless all had the descriptor's size and digest.

    Whoever stops before the end has verified nothing.
    """
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks(file):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    found = "sha256:" + digest.hexdigest()
    if size != descriptor.size or found != descriptor.digest:
        raise ImageIntegrityError("image.blob.digest", "content is not what its descriptor names",
                                  expected=f"{descriptor.digest}, {descriptor.size} bytes",
                                  got=f"{found}, {size} bytes")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever the system refuses while reading inside the block becomes `SetupError`."""
    try:
        yield
    except OSError as error:
        raise SetupError("image.read", f"cannot read {what}: {os.strerror(error.errno or errno.EIO)}") from None


@contextmanager
def _within_layout(name: str) -> Iterator[None]:
    """A missing file or a link inside a layout is the layout's fault, not the caller's."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise MalformedImage("image.blob.missing", "the layout lacks a file it must have", got=name) from None
        if error.errno == errno.ELOOP:
            raise MalformedImage("image.blob.kind", "links are not followed inside a layout", got=name) from None
        raise


def _folder(stack: ExitStack, name: str | Path, *, below: int | None = None) -> int:
    follow = 0 if below is None else os.O_NOFOLLOW
    number = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=below)
    stack.callback(os.close, number)
    return number


@contextmanager
def _open_regular(folder: int, name: str) -> Iterator[BinaryIO]:
    with _within_layout(name):
        number = os.open(name, _READ, dir_fd=folder)
    if not is_regular(number):
        raise MalformedImage("image.blob.kind", "only regular files belong into a layout", got=name)
    with os.fdopen(number, "rb") as file:
        yield file


def is_regular(number: int) -> bool:
    """Whether an open descriptor is a regular file; closed if it is not."""
    regular = stat.S_ISREG(os.fstat(number).st_mode)
    if not regular:
        os.close(number)
    return regular


def _read_small(folder: int, name: str) -> bytes:
    with reading(name), _open_regular(folder, name) as file:
        data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise MalformedImage("image.size", f"{name} is too large", expected=f"<= {MAX_DOCUMENT_BYTES} bytes")
    return data


def _bounded(descriptor: Descriptor, limit: int) -> None:
    if descriptor.size > limit:
        raise MalformedImage("image.size", "a blob is larger than is read here", expected=f"<= {limit} bytes",
                             got=f"{descriptor.size} bytes")
