"""Where key encryption keys come from and go to.

A key encryption key (KEK) is 32 bytes under a resource URI, its ``kid``, here always ``kbs:///repository/type/tag``.
The key broker client implements the two protocols; files and a mapping do for keys at hand and for tests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from attestation.errors import KeyUnavailable, MalformedImage, SetupError
from attestation.images.documents import shown
from attestation.images.oci_layout import is_regular, reading
from kbs.errors import KbsError
from kbs.protocol.resource_uri import ResourcePath

KEK_BYTES = 32


class KeySource(Protocol):
    """Gives out KEKs."""

    def get(self, kid: str) -> bytes:
        """The 32 bytes under ``kid``. Raises `KeyUnavailable` when there are none for this caller."""


class KeySink(Protocol):
    """Takes KEKs in."""

    def put(self, kid: str, key: bytes) -> None:
        """Keep the 32 bytes ``key`` under ``kid``, for good, before returning.

        A kid in use must be refused: replacing its key would lock every image wrapped with the old one. Raises an
        `AttestationError` when the key was not kept.
        """


def checked_kid(kid: object) -> str:
    """``kid`` as ``kbs:///<repository>/<type>/<tag>``. Raises `MalformedImage` when it names no stored resource.

    Any form of a resource URI is read; a host in it is dropped, since the client knows its broker.
    """
    try:
        return str(ResourcePath.parse(kid if isinstance(kid, str) else ""))
    except KbsError as error:
        raise MalformedImage("image.kid", f"not a resource of the key broker: {error.detail}",
                             expected="kbs:///<repository>/<type>/<tag>", got=shown(str(kid))) from None


def own_kid(kid: str) -> str:
    """As `checked_kid`, for a kid from our own configuration or arguments. Raises `SetupError`."""
    try:
        return checked_kid(kid)
    except MalformedImage as error:
        raise SetupError(error.id, error.detail, expected=error.expected, got=error.got) from None


def checked_kek(key: bytes, kid: str) -> bytes:
    """``key`` if it is 32 bytes long. Raises `SetupError`, naming ``kid``."""
    if len(key) != KEK_BYTES:
        raise SetupError("image.kek", f"the key {kid} has the wrong length", expected=f"{KEK_BYTES} bytes",
                         got=f"{len(key)} bytes")
    return key


def fresh_kek() -> bytes:
    """A random KEK."""
    return secrets.token_bytes(KEK_BYTES)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """A `KeySource` over files of exactly 32 raw bytes, by kid; each is read when it is asked for."""

    paths: Mapping[str, Path]

    def get(self, kid: str) -> bytes:
        """See `KeySource.get`."""
        path = self.paths.get(kid)
        if path is None:
            raise KeyUnavailable("image.key.unknown", "no key file was given for this key", got=kid)
        return read_kek(path)


@dataclass(slots=True)
class KeyTable:
    """A `KeySource` and `KeySink` in memory, for embedding and for tests."""

    keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    def get(self, kid: str) -> bytes:
        """See `KeySource.get`."""
        if kid not in self.keys:
            raise KeyUnavailable("image.key.unknown", "no such key in the table", got=kid)
        return self.keys[kid]

    def put(self, kid: str, key: bytes) -> None:
        """See `KeySink.put`."""
        if kid in self.keys:
            raise SetupError("image.key.exists", "there is a key of this name already", got=kid)
        self.keys[kid] = checked_kek(key, kid)


@dataclass(frozen=True, slots=True)
class KeySources:
    """Several sources as one: the first that has the key gives it; other errors end the search."""

    sources: Sequence[KeySource]

    def get(self, kid: str) -> bytes:
        """See `KeySource.get`."""
        missed = KeyUnavailable("image.key.unknown", "no key source was given", got=kid)
        for source in self.sources:
            try:
                return source.get(kid)
            except KeyUnavailable as error:
                missed = error
        raise missed


def read_kek(path: Path) -> bytes:
    """The KEK in a file of exactly 32 raw bytes. Raises `SetupError`."""
    return checked_kek(read_file(path, KEK_BYTES), f"in {path}")


def read_file(path: Path, limit: int) -> bytes:
    """A regular file (links are followed) of at most ``limit`` bytes. Raises `SetupError`."""
    with reading(str(path)):
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not is_regular(number):
            raise SetupError("image.read", "not a regular file", got=str(path))
        with os.fdopen(number, "rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise SetupError("image.read", f"{path} is too large", expected=f"<= {limit} bytes")
    return data
