"""Sealing and opening one chunk: AES-256-GCM with everything that fixes the chunk's place bound to its tag.

    nonce  11 bytes  index, big-endian              AAD  32 bytes  header digest
            1 byte   1 for the last chunk, else 0         8 bytes  index, big-endian
                                                          8 bytes  chunk count, big-endian
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.errors import SealedFileError
from attestation.models.sealed_file import Header

Writable = bytearray | memoryview
Readable = bytes | bytearray | memoryview


class ChunkCipher:
    """The chunks of one sealing. Safe to share between threads; OpenSSL works outside the interpreter's lock."""

    __slots__ = ("_aead", "_count", "_digest")

    def __init__(self, header: Header, dek: bytes) -> None:
        self._aead = AESGCM(header.chunk_key(dek))
        self._digest = header.digest
        self._count = header.chunk_count

    def seal_into(self, index: int, plaintext: Readable, sealed: Writable) -> None:
        """Ciphertext and tag of chunk ``index`` into ``sealed``, which is 16 bytes longer than ``plaintext``."""
        self._aead.encrypt_into(self._nonce(index), plaintext, self._aad(index), sealed)

    def open_into(self, index: int, sealed: Readable, plaintext: Writable) -> None:
        """The reverse. Raises `SealedFileError` and leaves zeros: OpenSSL has written by the time it finds out."""
        try:
            self._aead.decrypt_into(self._nonce(index), sealed, self._aad(index), plaintext)
        except InvalidTag:
            wipe(plaintext)
            raise self.refused(index, "is not authentic: altered, moved, or from another sealing",
                               expected="the tag made when it was sealed here", got="another tag") from None

    def refused(self, index: int, why: str, *, expected: object, got: object) -> SealedFileError:
        """An error naming chunk ``index``, to be raised by the caller."""
        return SealedFileError("models.chunk", f"chunk {index} of {self._count} (counted from 0) {why}",
                               expected=expected, got=got)

    def _nonce(self, index: int) -> bytes:
        return index.to_bytes(11, "big") + (b"\1" if index == self._count - 1 else b"\0")

    def _aad(self, index: int) -> bytes:
        return self._digest + index.to_bytes(8, "big") + self._count.to_bytes(8, "big")


def wipe(view: Writable) -> None:
    """Zeros all over ``view``, whatever its size, without as much memory again."""
    zeros = bytes(1 << 16)
    for start in range(0, len(view), len(zeros)):
        end = min(start + len(zeros), len(view))
        view[start:end] = zeros[: end - start]
