"""Trust that was established once and is still good.

A chain, a collateral set or an attestation key that has verified is kept under the digest of every byte it was
established from, together with the window in which the same verification gives the same answer. Looking it up again is
therefore the same function of the same inputs. What refuses evidence is never put in, and values are immutable.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from threading import Lock
from typing import Any, Protocol, TypeVar

from verifier.endorsements.window import Window
from verifier.trail import Check, Trail

DEFAULT_CAPACITY = 4096


def digest_of(parts: Iterable[bytes]) -> bytes:
    """SHA-256 over every part with its length: how byte strings enter the name under which trust is kept."""
    return hashlib.sha256(b"".join([len(part).to_bytes(8, "big") + part for part in parts])).digest()


class Kept(Protocol):
    """What can be kept: anything that knows its own window."""

    @property
    def window(self) -> Window:
        """The span in which this holds."""


class Established(Kept, Protocol):
    """What was established by rules, and has their checks with it."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that say so."""


K = TypeVar("K", bound=Kept)
E = TypeVar("E", bound=Established)


class Prepared:
    """A bounded, thread-safe store, least recently used first out. ``capacity`` 0 keeps nothing."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def find(self, kind: type[K], key: Hashable, at: int) -> K | None:
        """What was kept for ``key`` and is good at ``at``; None when there is nothing or its window does not hold."""
        name = kind, key
        with self._lock:
            value = self._kept.get(name)
            if value is None:
                return None
            self._kept.move_to_end(name)
        return value if value.window.contains(at) else None

    def keep(self, key: Hashable, value: K) -> K:
        """Keep ``value``, which has just verified, and hand it back."""
        if self._capacity > 0:
            with self._lock:
                self._kept[type(value), key] = value
                self._kept.move_to_end((type(value), key))
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        return value

    def establish(self, trail: Trail, kind: type[E], key: Hashable, at: int, verify: Callable[[Trail], E]) -> E:
        """What was kept for ``key``, its checks noted on ``trail`` again; else what ``verify`` makes of a branch of
        ``trail``, which is kept. Its errors pass through, and then nothing is."""
        found = self.find(kind, key, at)
        if found is None:
            return self.keep(key, verify(trail.branch()))
        trail.extend(found.checks)
        return found

    def __len__(self) -> int:
        return len(self._kept)
