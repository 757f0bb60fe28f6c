"""Taken challenges in this process's memory: for tests and brokers of one process."""

from __future__ import annotations

from threading import Lock

from kbs.sessions.base import SWEEP_MARGIN, Taken, spent


class MemorySessions:
    """One dictionary under one lock. It joins no transaction."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: dict[bytes, tuple[int, Taken]] = {}

    def take(self, id: bytes, *, expires_at: int, outcome: bytes | None) -> None:
        """See `Sessions.take`."""
        with self._lock:
            if id in self._taken:
                raise spent()
            self._taken[id] = expires_at, Taken(outcome)

    def find(self, id: bytes) -> Taken | None:
        """See `Sessions.find`."""
        with self._lock:
            kept = self._taken.get(id)
        return kept[1] if kept else None

    def sweep(self, at: int) -> int:
        """See `Sessions.sweep`."""
        with self._lock:
            old = [id for id, (expires_at, _) in self._taken.items() if expires_at <= at - SWEEP_MARGIN]
            for id in old:
                del self._taken[id]
        return len(old)
