"""A storage that remembers what it read, for requests of one moment.

    with kept.one_moment():     requests that had all arrived before it
        …                       storage is asked once how often each space was changed; what was read when a space had
                                been changed as often is given again

Whoever asks after a change was answered comes in a later moment, and finds it. A moment in which something is written
remembers nothing from then on: what a transaction reads of itself may be rolled back. Outside moments nothing is
remembered. Wrap what holds sealed values, so that none is kept open in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kbs.storage.base import Encode, Entry, Record, Storage

# What is remembered stays below 16 MiB.
MAX_KEPT = 1024
MAX_KEPT_BYTES = 16 * 1024

T = TypeVar("T")


class KeptStorage:
    """``inner`` with moments, which are for a thread that is alone."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._in_moment = False
        self._seen: Mapping[str, int] | None = None
        self._kept: dict[tuple[Any, ...], tuple[int, Any]] = {}

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """It begins when storage is first asked inside."""
        self._in_moment = True
        try:
            yield
        finally:
            self._end()

    def get(self, space: str, key: str, version: int | None = None) -> Record | None:
        """See `Storage.get`."""
        return self._read(self._inner.get, space, key, version)

    def put(self, space: str, key: str, value: bytes, *, expect: int | None = None,
            encode: Encode | None = None) -> int:
        """See `Storage.put`."""
        self._end()
        return self._inner.put(space, key, value, expect=expect, encode=encode)

    def delete(self, space: str, key: str, *, expect: int | None = None) -> bool:
        """See `Storage.delete`."""
        self._end()
        return self._inner.delete(space, key, expect=expect)

    def list(self, space: str, prefix: str = "") -> tuple[Entry, ...]:
        """See `Storage.list`."""
        return self._inner.list(space, prefix)

    def versions(self, space: str, key: str) -> tuple[Entry, ...]:
        """See `Storage.versions`."""
        return self._read(self._inner.versions, space, key)

    def generations(self) -> Mapping[str, int]:
        """See `Storage.generations`."""
        if self._seen is not None:
            return self._seen
        found = self._inner.generations()
        if self._in_moment:
            self._seen = found
        return found

    def _end(self) -> None:
        self._in_moment, self._seen = False, None

    def _read(self, read: Callable[..., T], space: str, *named: Any) -> T:
        if not self._in_moment:
            return read(space, *named)
        generation = self.generations().get(space, 0)
        name = (read.__name__, space, *named)
        kept = self._kept.get(name)
        if kept is not None and kept[0] == generation:
            found: T = kept[1]
            return found
        found = read(space, *named)
        if not isinstance(found, Record) or len(found.value) <= MAX_KEPT_BYTES:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[name] = generation, found
        return found
