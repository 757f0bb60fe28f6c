"""Reading a sealed file, at any offset.

Ciphertext is copied into private memory (`preadv`, not a mapping) before it is authenticated, so nobody can change it
between check and use. Large reads decrypt straight into the caller's buffer, spread over a few threads; partial chunks
at the edges are decrypted aside and copied, and the last such chunk is kept for the neighbour that is read next.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from attestation.errors import SealedFileError, SetupError
from attestation.models.chunks import ChunkCipher, wipe
from attestation.models.files import io_errors, open_regular
from attestation.models.keys import KeySource
from attestation.models.prefault import Prefault
from attestation.models.sealed_file import MAX_HEADER_BYTES, TAG_BYTES, Header, UnverifiedHeader, parse_header
from attestation.models.threads import in_threads

# What one thread takes at a time: large against the cost of handing out work, small against the processor's caches.
_SPAN_BYTES = 1 << 21
_MAX_WORKERS = 4


class SealedReader:
    """An open sealed file whose header is authentic; every byte it gives out is authentic too.

    Safe to share between threads. Reads raise `SealedFileError` naming the chunk at fault, or `SetupError` when the
    operating system fails. Close it, or use it in a ``with`` block.
    """

    def __init__(self, fd: int, header: Header, dek: bytes, *, workers: int | None = None) -> None:
        """Takes over ``fd``. Raises `SealedFileError` unless the file is exactly as long as its header says.

        workers: threads for large reads; None for as many as there are usable cores, at most 4.
        """
        self.header = header
        self._fd = fd
        self._cipher = ChunkCipher(header, dek)
        self._workers = workers or min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
        self._scratch = threading.local()
        self._kept: tuple[int, bytes] = (-1, b"")
        self._check_length()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and drop the plaintext that was kept. Calling it again does nothing."""
        self._kept = (-1, b"")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __len__(self) -> int:
        """Plaintext length in bytes."""
        return self.header.plaintext_bytes

    def read(self, offset: int, size: int) -> bytes:
        """Exactly ``size`` bytes of plaintext. For large ranges `readinto` spares a copy."""
        self._check_range(offset, size)
        buffer = bytearray(size)
        self.readinto(offset, buffer)
        return bytes(buffer)

    def readinto(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` with plaintext from ``offset`` on. A failed read leaves it zeroed.

        Raises, besides what the class says, `SetupError` for a range that reaches past the end.
        """
        view = memoryview(buffer)
        view = view.cast("B") if view.nbytes else memoryview(bytearray())
        self._check_range(offset, len(view))
        try:
            self._fill(view, offset)
        except BaseException:
            wipe(view)
            raise

    def chunks(self) -> Iterator[memoryview]:
        """The plaintext, chunk by chunk. Each view holds good until the next one is asked for."""
        plaintext = memoryview(bytearray(self.header.chunk_plaintext_bytes(0)))
        for index in range(self.header.chunk_count):
            view = plaintext[: self.header.chunk_plaintext_bytes(index)]
            self._open(index, view)
            yield view

    def _fill(self, view: memoryview, offset: int) -> None:
        chunk_bytes, end = self.header.chunk_bytes, offset + len(view)
        first_whole = -(-offset // chunk_bytes)
        end_whole = self.header.chunk_count if end == len(self) else end // chunk_bytes
        if first_whole >= end_whole:
            self._copy(view, offset, offset, end)
            return
        middle, tail = first_whole * chunk_bytes, min(end_whole * chunk_bytes, end)
        self._copy(view, offset, offset, middle)
        self._open_many(first_whole, end_whole, view[middle - offset : tail - offset])
        self._copy(view, offset, tail, end)

    def _copy(self, view: memoryview, base: int, start: int, end: int) -> None:
        """Plaintext from ``start`` to ``end`` through the kept chunk; ``view`` begins at offset ``base``."""
        while start < end:
            index, skip = divmod(start, self.header.chunk_bytes)
            piece = self._chunk(index)[skip : skip + end - start]
            view[start - base : start - base + len(piece)] = piece
            start += len(piece)

    def _chunk(self, index: int) -> bytes:
        kept_index, plaintext = self._kept
        if kept_index != index:
            buffer = bytearray(self.header.chunk_plaintext_bytes(index))
            self._open(index, memoryview(buffer))
            plaintext = bytes(buffer)
            self._kept = (index, plaintext)
        return plaintext

    def _open_many(self, first: int, end: int, view: memoryview) -> None:
        """Whole chunks ``first`` up to ``end`` into ``view``; of several bad chunks the first one is reported."""
        chunk_bytes = self.header.chunk_bytes
        step = max(1, _SPAN_BYTES // chunk_bytes)
        memory = Prefault(view)

        def open_span(start: int) -> None:
            offset, size = (start - first) * chunk_bytes, step * chunk_bytes
            memory.bring(offset, size)
            span = view[offset : offset + size]
            for index in range(start, min(start + step, end)):
                at = (index - start) * chunk_bytes
                self._open(index, span[at : at + chunk_bytes])

        in_threads(open_span, range(first, end, step), self._workers)

    def _open(self, index: int, plaintext: memoryview) -> None:
        self._cipher.open_into(index, self._fetch(index), plaintext)

    def _fetch(self, index: int) -> memoryview:
        """A copy of the sealed chunk, in memory of this thread's own, good until its next fetch."""
        size = self.header.chunk_plaintext_bytes(index) + TAG_BYTES
        offset, done, sealed = self.header.chunk_offset(index), 0, self._own_memory()[:size]
        while done < size:
            with io_errors(f"cannot read chunk {index}"):
                count = os.preadv(self._fd, [sealed[done:]], offset + done)
            if count == 0:
                raise self._cipher.refused(index, "is cut short", expected=f"{size} bytes", got=f"{done} bytes")
            done += count
        return sealed

    def _own_memory(self) -> memoryview:
        if not hasattr(self._scratch, "view"):
            self._scratch.view = memoryview(bytearray(self.header.chunk_plaintext_bytes(0) + TAG_BYTES))
        view: memoryview = self._scratch.view
        return view

    def _check_length(self) -> None:
        header, size = self.header, os.fstat(self._fd).st_size
        if size == header.file_bytes:
            return
        last = header.chunk_count - 1
        if size > header.file_bytes:
            what = f"bytes follow chunk {last}, which is the last"
        else:
            cut = (size - len(header.encoded)) // (header.chunk_bytes + TAG_BYTES)
            what = f"the file is cut short in chunk {min(cut, last)} of {header.chunk_count} (counted from 0)"
        raise SealedFileError("models.length", what, expected=f"{header.file_bytes} bytes", got=f"{size} bytes")

    def _check_range(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > len(self):
            raise SetupError("models.range", "the range reaches outside the file", expected=f"0 to {len(self)}",
                             got=f"{offset} to {offset + size}")


def open_sealed(path: str | Path, keys: KeySource, *, folder: int | None = None, header_digest: bytes | None = None,
                workers: int | None = None) -> SealedReader:
    """Open the sealed file at ``path``.

    folder: as in `open_regular`. header_digest: the SHA-256 that the header must have, None for any. workers: as in
    `SealedReader`. Raises `SealedFileError`, `KeyUnavailable` or `SetupError`.
    """
    fd = open_regular(path, folder=folder)
    try:
        stated = read_header(fd)
        _check_digest(stated, header_digest)
        dek = keys.get(stated.key_uri)
        return SealedReader(fd, stated.authenticate(dek), dek, workers=workers)
    except BaseException:
        os.close(fd)
        raise


def read_header(fd: int) -> UnverifiedHeader:
    """The header of the sealed file behind ``fd``, in one bounded read."""
    with io_errors("cannot read the header"):
        start = os.pread(fd, MAX_HEADER_BYTES, 0)
    return parse_header(start)


def _check_digest(stated: UnverifiedHeader, expected: bytes | None) -> None:
    if expected is not None and not hmac.compare_digest(stated.digest, expected):
        raise SealedFileError("models.header.digest", "this is another sealing than the one expected",
                              expected=expected, got=stated.digest)
