"""The same work on many items, in a few threads, the caller's among them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_threads(work: Callable[[int], None], items: range, workers: int) -> None:
    """``work`` on each item, begun in order, in at most ``workers`` threads; this one is the first of them.

    Once an item fails no other is begun. Of several that failed the first in order is reported, and it is the first bad
    one of all: those before it had been begun by then, and are finished.
    """
    if min(workers, len(items)) <= 1:
        for item in items:
            work(item)
        return
    _Crew(work, items).run(min(workers, len(items)))


class _Crew:
    def __init__(self, work: Callable[[int], None], items: range) -> None:
        self._work = work
        self._items = iter(items)
        self._lock = threading.Lock()
        self._stopped = False
        self._failures: list[tuple[int, BaseException]] = []

    def run(self, workers: int) -> None:
        """All items, in ``workers`` threads. Raises what the first bad one raised."""
        pool = ThreadPoolExecutor(workers - 1, thread_name_prefix="unseal")
        try:
            for _ in range(workers - 1):
                pool.submit(self._member)
            self._member()
        finally:
            # When this thread is interrupted, the others must not work on behind the caller's back.
            self._stopped = True
            pool.shutdown()
        if self._failures:
            raise min(self._failures, key=lambda failure: failure[0])[1]

    def _member(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 - raised by `run`, in the caller's thread
                self._failures.append((item, error))
                self._stopped = True

    def _next(self) -> int | None:
        with self._lock:
            return None if self._stopped else next(self._items, None)
