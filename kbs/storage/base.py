"""The port: named values with versions, in spaces.

A space is a kind of thing (``resource``, ``attestation-policy`` …), a key a name within it. Each `put` makes a new
version, counted from 1 and never used twice for the same key, not even after `delete`: a version number therefore names
one value for ever, which is what the audit log relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from kbs.errors import StorageError

MAX_KEY_CHARACTERS = 1024

T = TypeVar("T")
Encode = Callable[[int, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one value without the value. ``size`` in bytes as given to `put`; ``stored_at`` Unix seconds."""

    key: str
    version: int
    size: int
    stored_at: int


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one value."""

    key: str
    version: int
    value: bytes = field(repr=False)
    stored_at: int


class Storage(Protocol):
    """What every adapter promises; one contract suite is run over all of them."""

    def get(self, space: str, key: str, version: int | None = None) -> Record | None:
        """The present version, or the one asked for; None when there is none or the key was deleted."""

    def put(self, space: str, key: str, value: bytes, *, expect: int | None = None,
            encode: Encode | None = None) -> int:
        """Store a new version and return its number.

        expect: the version that must be the present one, 0 for "must not exist"; None overwrites whatever there is.
        encode: called with the new version's number and ``value``; what it returns is stored instead.
        Raises `Conflict` when ``expect`` does not hold.
        """

    def delete(self, space: str, key: str, *, expect: int | None = None) -> bool:
        """Forget every version's value; False when there was nothing. Raises `Conflict` as `put` does."""

    def list(self, space: str, prefix: str = "") -> tuple[Entry, ...]:
        """The present version of every key that begins with ``prefix``, by key."""

    def versions(self, space: str, key: str) -> tuple[Entry, ...]:
        """Every version of one key, oldest first; empty when the key does not exist or was deleted."""

    def generations(self) -> Mapping[str, int]:
        """How often each space was changed; one that never was may be missing. Equal numbers mean that nothing was
        changed between."""


class Transactions(Protocol):
    """Opens a transaction in which everything the adapters of one database do happens together or not at all.

    Calls nest: an inner one joins the outer. A transaction belongs to the thread that opened it.
    """

    def __call__(self) -> AbstractContextManager[None]:
        """Commit on leaving, roll back when an exception passes."""


class Disk(Protocol):
    """Where commits become durable, for whoever has better to do meanwhile than to wait within each."""

    @property
    def failed(self) -> bool:
        """Whether it failed to take a commit, after which it is believed nothing more."""

    def put_off(self, act: Callable[[], T]) -> tuple[T, int]:
        """What ``act`` returns, and the number of the last commit it made on this thread, for which nobody has waited:
        what it returned may be shown only once `is_durable`. 0 when it made none."""

    def is_durable(self, number: int) -> bool:
        """Whether the disk has the commit ``number``."""

    def sync(self, number: int) -> None:
        """Return when it has. Raises `OSError`, from the first time on for every commit that is not on the disk."""


def check_name(space: str, key: str) -> None:
    """Refuse what is no name: empty, too long, or holding control characters or surrogates."""
    for part in (space, key):
        if not part or len(part) > MAX_KEY_CHARACTERS or not part.isprintable():
            raise StorageError("storage.key", "not a name that can be stored",
                               expected=f"1..{MAX_KEY_CHARACTERS} printable characters", got=f"{len(part)} characters")
