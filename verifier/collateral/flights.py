"""One fetch of an object at a time, however many threads ask; and what failed is not tried again at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Lock
from typing import Generic, TypeVar

from verifier.errors import CollateralError, MissingCollateral

T = TypeVar("T")
_MAX_FAILURES = 10_000


class Flights(Generic[T]):
    """Work by key: the first to ask does it, whoever asks meanwhile gets the same answer or the same error."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._flying: dict[str, Future[T]] = {}

    def run(self, key: str, work: Callable[[], T], patience: float) -> T:
        """The result of ``work``, done here or by another thread, for which at most ``patience`` seconds are waited."""
        with self._lock:
            flight = self._flying.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flying[key] = Future()
        if mine:
            self._fly(key, flight, work)
        try:
            return flight.result(timeout=patience)
        except FutureTimeout:
            raise MissingCollateral("collateral.fetch.timeout",
                                    f"another thread takes too long to fetch {key}") from None

    def busy(self, key: str) -> bool:
        """Whether somebody is at it."""
        with self._lock:
            return key in self._flying

    def _fly(self, key: str, flight: Future[T], work: Callable[[], T]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - every waiting thread is told, and `run` raises it here too
            self._land(key)
            flight.set_exception(error)
        else:
            self._land(key)
            flight.set_result(result)

    def _land(self, key: str) -> None:
        with self._lock:
            del self._flying[key]


class Failures:
    """Recent failures by key, each for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._failed: OrderedDict[str, tuple[CollateralError, float]] = OrderedDict()

    def recent(self, key: str) -> CollateralError | None:
        """The failure that still counts, or None."""
        with self._lock:
            error, until = self._failed.get(key, (None, 0.0))
            if error is None or until > self._clock():
                return error
            del self._failed[key]
            return None

    def note(self, key: str, error: CollateralError, seconds: float) -> None:
        """Let ``error`` count for ``seconds``."""
        with self._lock:
            self._failed[key] = (error, self._clock() + seconds)
            self._failed.move_to_end(key)
            while len(self._failed) > _MAX_FAILURES:
                self._failed.popitem(last=False)

    def forget(self, key: str) -> None:
        """It works again."""
        with self._lock:
            self._failed.pop(key, None)
