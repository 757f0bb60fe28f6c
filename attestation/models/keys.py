"""Where data encryption keys (DEK) come from.

A DEK is 32 bytes stored at the broker as a resource; its name is the resource's URI, ``kbs:///<repository>/<type>/<tag>``.
The key broker client is the usual `KeySource`; `HeldKeys` serves owners, who have the key at hand, and tests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from attestation.errors import KeyUnavailable
from attestation.models.files import io_errors
from kbs.errors import MalformedRequest
from kbs.protocol.resource_uri import MAX_SEGMENT_BYTES, ResourcePath

DEK_BYTES = 32
MAX_KEY_URI_BYTES = len("kbs:///") + 3 * MAX_SEGMENT_BYTES + 2


class KeySource(Protocol):
    """Gives out keys."""

    def get(self, kid: str) -> bytes:
        """The 32 bytes under the resource URI ``kid``. Raises `KeyUnavailable` when there are none for this caller."""


class HeldKeys:
    """Keys at hand, by resource URI."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    @classmethod
    def from_files(cls, files: Mapping[str, Path]) -> HeldKeys:
        """Each file holds the raw 32 bytes of one key. Raises `SetupError` for a file that cannot be read."""
        return cls({key_uri: read_key_file(path) for key_uri, path in files.items()})

    def __contains__(self, kid: str) -> bool:
        return kid in self._keys

    def get(self, kid: str) -> bytes:
        """The key under ``kid``. Raises `KeyUnavailable`."""
        if kid not in self._keys:
            raise KeyUnavailable("models.key.unknown", "none of the keys at hand has this name", got=kid)
        return self._keys[kid]

    def __repr__(self) -> str:
        return f"HeldKeys({sorted(self._keys)})"


class PinnedKeys:
    """Keys of the given names only. Which key a file names is its author's choice: where a key source also gives keys
    that strangers know, they could pass a model of their own off as the owner's.
    """

    __slots__ = ("_key_uris", "_keys")

    def __init__(self, keys: KeySource, key_uris: Collection[str]) -> None:
        self._keys = keys
        self._key_uris = frozenset(key_uris)

    def get(self, kid: str) -> bytes:
        """As `KeySource.get`. Raises `KeyUnavailable`, without asking for the key, for any other name."""
        if kid not in self._key_uris:
            raise KeyUnavailable("models.key.pinned", "sealed under another key than the ones allowed",
                                 expected=sorted(self._key_uris), got=kid)
        return self._keys.get(kid)


def is_key_uri(text: str) -> bool:
    """Whether ``text`` is ``kbs:///<repository>/<type>/<tag>`` in this one form. It names no host: the client knows its
    broker.
    """
    try:
        return str(ResourcePath.parse(text)) == text
    except MalformedRequest:
        return False


def read_key_file(path: Path) -> bytes:
    """The content of a key file, and never more than one byte more than a key has: `derive` judges the length."""
    with io_errors(f"cannot read the key file {path}"), path.open("rb") as file:
        return file.read(DEK_BYTES + 1)


def generate_key_file(path: Path) -> None:
    """A new random DEK in a new file of mode 0600. Raises `SetupError`, also when the file exists."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with io_errors(f"cannot create the key file {path}"), os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(secrets.token_bytes(DEK_BYTES))
        file.flush()
        os.fsync(file.fileno())
