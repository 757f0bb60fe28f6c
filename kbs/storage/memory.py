"""Storage in this process's memory: for tests and for brokers that live as long as their process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock

from kbs.errors import Conflict
from kbs.storage.base import Encode, Entry, Record, check_name


class MemoryStorage:
    """One dictionary under one lock. ``clock`` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = RLock()
        self._counters: dict[tuple[str, str], int] = {}
        self._live: dict[tuple[str, str], tuple[tuple[Record, int], ...]] = {}
        self._generations: dict[str, int] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside together or not at all; other threads wait."""
        with self._lock:
            before = dict(self._counters), dict(self._live), dict(self._generations)
            try:
                yield
            except BaseException:
                self._counters, self._live, self._generations = before
                raise

    def get(self, space: str, key: str, version: int | None = None) -> Record | None:
        """See `Storage.get`."""
        check_name(space, key)
        with self._lock:
            kept = self._live.get((space, key), ())
            if version is None:
                return kept[-1][0] if kept else None
            return next((record for record, _ in kept if record.version == version), None)

    def put(self, space: str, key: str, value: bytes, *, expect: int | None = None,
            encode: Encode | None = None) -> int:
        """See `Storage.put`."""
        check_name(space, key)
        with self._lock:
            self._demand(space, key, expect)
            version = self._counters.get((space, key), 0) + 1
            stored = encode(version, value) if encode else bytes(value)
            record = Record(key, version, stored, int(self._clock()))
            self._counters[space, key] = version
            self._live[space, key] = (*self._live.get((space, key), ()), (record, len(value)))
            self._changed(space)
            return version

    def delete(self, space: str, key: str, *, expect: int | None = None) -> bool:
        """See `Storage.delete`."""
        check_name(space, key)
        with self._lock:
            self._demand(space, key, expect)
            if self._live.pop((space, key), None) is None:
                return False
            self._changed(space)
            return True

    def list(self, space: str, prefix: str = "") -> tuple[Entry, ...]:
        """See `Storage.list`."""
        with self._lock:
            found = [_entry(*kept[-1]) for (where, key), kept in self._live.items()
                     if where == space and key.startswith(prefix)]
        return tuple(sorted(found, key=lambda entry: entry.key))

    def versions(self, space: str, key: str) -> tuple[Entry, ...]:
        """See `Storage.versions`."""
        check_name(space, key)
        with self._lock:
            return tuple(_entry(*kept) for kept in self._live.get((space, key), ()))

    def generations(self) -> Mapping[str, int]:
        """See `Storage.generations`."""
        with self._lock:
            return dict(self._generations)

    def _demand(self, space: str, key: str, expect: int | None) -> None:
        kept = self._live.get((space, key))
        present = kept[-1][0].version if kept else 0
        if expect is not None and present != expect:
            raise Conflict("storage.version", "the value has changed meanwhile", expected=expect, got=present)

    def _changed(self, space: str) -> None:
        self._generations[space] = self._generations.get(space, 0) + 1


def _entry(record: Record, size: int) -> Entry:
    return Entry(record.key, record.version, size, record.stored_at)
