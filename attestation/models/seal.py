"""Sealing a file: one pass, two chunks of memory, nothing under the target's name until all of it is on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from attestation.errors import SetupError
from attestation.models.chunks import ChunkCipher
from attestation.models.files import io_errors, new_file, open_regular
from attestation.models.keys import KeySource
from attestation.models.sealed_file import DEFAULT_CHUNK_BYTES, SALT_BYTES, TAG_BYTES, Header, new_header

# Called after each chunk with the plaintext bytes it held.
Progress = Callable[[int], object]


def seal_file(source: Path, target: Path, *, key_uri: str, keys: KeySource, chunk_bytes: int = DEFAULT_CHUNK_BYTES,
              progress: Progress | None = None, _salt: bytes | None = None) -> Header:
    """Seal the file ``source``, whatever its format, as the new file ``target`` (mode 0600); returns its header.

    key_uri: the resource URI that openers will fetch the key from; ``keys`` gives it now. chunk_bytes: a power of two,
    4 KiB to 64 MiB. ``_salt`` is for making test vectors: a salt used twice with one key gives the plaintext away.

    Raises `SetupError` (unreadable or changing source, existing target, values out of range) or `KeyUnavailable`.
    """
    dek = keys.get(key_uri)
    fd = open_regular(source)
    try:
        header = new_header(dek, key_uri=key_uri, plaintext_bytes=os.fstat(fd).st_size, chunk_bytes=chunk_bytes,
                            salt=_salt or secrets.token_bytes(SALT_BYTES))
        with new_file(target) as out:
            _seal(fd, source, header, ChunkCipher(header, dek), out, progress)
    finally:
        os.close(fd)
    return header


def _seal(fd: int, source: Path, header: Header, cipher: ChunkCipher, out: BinaryIO, progress: Progress | None) -> None:
    largest = header.chunk_plaintext_bytes(0)
    plaintext, sealed = memoryview(bytearray(largest)), memoryview(bytearray(largest + TAG_BYTES))
    out.write(header.encoded)
    for index in range(header.chunk_count):
        size = header.chunk_plaintext_bytes(index)
        _read_exactly(fd, source, index * header.chunk_bytes, plaintext[:size])
        cipher.seal_into(index, plaintext[:size], sealed[: size + TAG_BYTES])
        out.write(sealed[: size + TAG_BYTES])
        if progress is not None:
            progress(size)
    with io_errors(f"cannot read {source}"):
        if os.pread(fd, 1, header.plaintext_bytes):
            raise _changed(source)


def _read_exactly(fd: int, source: Path, offset: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        with io_errors(f"cannot read {source}"):
            count = os.preadv(fd, [view[done:]], offset + done)
        if count == 0:
            raise _changed(source)
        done += count


def _changed(source: Path) -> SetupError:
    return SetupError("models.source", f"{source} changed its length while it was sealed")
