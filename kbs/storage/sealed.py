"""Encryption at rest: a storage that wraps a storage.

A stored value is ``01 || key id (8) || nonce (12) || AES-256-GCM ciphertext and tag``. Its space, key and version are
bound in as associated data, so a value moved to another name, or an old version put in the place of a newer one, does
not open. Names, sizes and dates stay readable. Whoever can write the database can still delete values or put back a
whole earlier state of it; the audit log shows which version was released.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kbs.errors import SetupError, StorageError
from kbs.storage.base import Encode, Entry, Record, Storage

_FORMAT = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_HEADER_BYTES = len(_FORMAT) + _KEY_ID_BYTES

_SENTINEL = ("meta", "sealing", b"attestkit kbs: this database is sealed with the key that opens this")


class SealedStorage:
    """Values of ``inner`` sealed under ``key`` (32 bytes).

    Random 96-bit nonces keep GCM sound up to 2**32 values under one key, far beyond what administrators write.
    """

    def __init__(self, inner: Storage, key: bytes) -> None:
        self._inner = inner
        self._cipher = AESGCM(key)
        self._key_id = hashlib.sha256(b"attestkit kbs sealing key id" + key).digest()[:_KEY_ID_BYTES]

    def prove_key(self) -> bool:
        """True when the database was new and is now marked with this key; False when it was marked with it before.

        Raises `SetupError` when it is sealed with another key (a lost key file is not remade beside the secrets that
        need it), and `Conflict` when somebody else marks it at this moment.
        """
        space, key, text = _SENTINEL
        try:
            found = self.get(space, key)
        except StorageError:
            raise SetupError("storage.seal.key", "the database is sealed with another key; put its key file back "
                             "in the state folder") from None
        if found is None:
            self.put(space, key, text, expect=0)
        return found is None

    def get(self, space: str, key: str, version: int | None = None) -> Record | None:
        """See `Storage.get`. Raises `StorageError` for what does not open."""
        record = self._inner.get(space, key, version)
        if record is None:
            return None
        value = self._open(record.value, _bound(space, key, record.version))
        return Record(record.key, record.version, value, record.stored_at)

    def put(self, space: str, key: str, value: bytes, *, expect: int | None = None,
            encode: Encode | None = None) -> int:
        """See `Storage.put`."""
        def seal(version: int, plain: bytes) -> bytes:
            return self._seal(encode(version, plain) if encode else plain, _bound(space, key, version))

        return self._inner.put(space, key, value, expect=expect, encode=seal)

    def delete(self, space: str, key: str, *, expect: int | None = None) -> bool:
        """See `Storage.delete`."""
        return self._inner.delete(space, key, expect=expect)

    def list(self, space: str, prefix: str = "") -> tuple[Entry, ...]:
        """See `Storage.list`."""
        return self._inner.list(space, prefix)

    def versions(self, space: str, key: str) -> tuple[Entry, ...]:
        """See `Storage.versions`."""
        return self._inner.versions(space, key)

    def generations(self) -> Mapping[str, int]:
        """See `Storage.generations`."""
        return self._inner.generations()

    def _seal(self, value: bytes, bound: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + self._key_id + nonce + self._cipher.encrypt(nonce, value, bound)

    def _open(self, sealed: bytes, bound: bytes) -> bytes:
        if sealed[:1] != _FORMAT or sealed[1:_HEADER_BYTES] != self._key_id:
            raise StorageError("storage.seal.key", "the value was sealed with another key or format")
        nonce = sealed[_HEADER_BYTES:_HEADER_BYTES + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[_HEADER_BYTES + _NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise StorageError("storage.seal.value", "the stored value was altered or moved") from None


def _bound(space: str, key: str, version: int) -> bytes:
    """Associated data: every part with its length, so that no two names give the same bytes."""
    parts = (b"attestkit kbs sealed value v1", space.encode(), key.encode(), version.to_bytes(8, "big"))
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
