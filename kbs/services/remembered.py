"""A bounded memory, oldest first out."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """At most ``capacity`` values by name. Safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._values: dict[bytes, V] = {}

    def get(self, name: bytes) -> V | None:
        """None when it is not, or no longer, known."""
        return self._values.get(name)

    def put(self, name: bytes, value: V) -> None:
        """Remember ``value``, and forget the oldest where there are too many."""
        with self._lock:
            self._values[name] = value
            if len(self._values) > self._capacity:
                del self._values[next(iter(self._values))]
