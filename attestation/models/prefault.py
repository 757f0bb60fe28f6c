"""Bringing fresh memory in before it is written to.

Loading a model is limited by fresh memory, not by the cipher: with pages of 4 KiB, faults take about two thirds of the
processor time. Two things help. Asking for the pages of a span at once takes a quarter of that away. Huge pages take
nearly all of it away, unless a hypervisor has taken free memory back: it took the large free blocks, so a huge page
costs more than the small pages in its place, for as long as those come from what was left. Nothing tells where memory
is from, but like comes in runs, and each processor has its own list of what was freed on it. So every thread measures
on the way: after a bad block it asks for small pages, for longer each time, unless they turn out to be worse.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from dataclasses import dataclass

# Linux 5.14. The module `mmap` does not name it, and its own madvise would hold the interpreter's lock.
_MADV_POPULATE_WRITE = 23
_HUGE = 1 << 21
# Seconds per byte that small pages take where memory is at hand: 2 MiB in 1 ms.
_SMALL = 1e-3 / _HUGE
# For how many spans small pages are used after a bad block: at first, by how much longer after each further one, and by
# how much shorter after a good one. A bad block costs what about four good ones spare.
_FIRST_PAUSE = 4.0
_LONGER, _SHORTER = 8.0, 1.5
# How far ahead the kernel is told to use small pages, in bytes: no further than may be regretted.
_AHEAD = 1 << 25

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


@dataclass(slots=True)
class _Thread:
    """What one thread has learned. small, bad: seconds per byte of small pages, and of the last bad block of huge ones.

    small_until: up to which address it wants small pages. pause: for how many spans the next time.
    """

    small_until: int = 0
    pause: float = _FIRST_PAUSE
    small: float = _SMALL
    bad: float = 0.0


class Prefault:
    """The memory of one writable buffer, to be brought in from front to back. The buffer must outlive this object.

    These are hints, and what the memory holds does not change: where the kernel does not know them, pages come as they
    are written. Several threads may share it, each bringing in spans of its own.
    """

    __slots__ = ("_last", "_marked", "_start", "_threads")

    def __init__(self, view: memoryview) -> None:
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
        self._last = (self._start + len(view)) // mmap.PAGESIZE * mmap.PAGESIZE
        # Up to here the kernel was told to use small pages, wherever it has not been asked for pages yet.
        self._marked = 0
        self._threads: dict[int, _Thread] = {}

    def bring(self, offset: int, size: int) -> None:
        """Have the pages that begin among ``size`` bytes at ``offset`` in memory, huge ones where they fit."""
        first, end = self._edge(offset), self._edge(offset + size)
        if first >= end:
            return
        thread = self._threads.setdefault(threading.get_ident(), _Thread())
        if first < thread.small_until:
            self._mark_small(first, end)
        # This thread's processor time: the hypervisor's work counts in it, being preempted does not.
        before = time.thread_time()
        _madvise(first, end - first, _MADV_POPULATE_WRITE)
        cost = (time.thread_time() - before) / (end - first)
        if first < max(thread.small_until, self._marked):
            self._learn_of_small(thread, cost)
        else:
            self._learn_of_huge(thread, end, end - first, cost)

    def _edge(self, offset: int) -> int:
        """Where in memory the pages of the span before ``offset`` end and those of the next begin: two threads that
        bring in halves of one huge page would both make it."""
        page = _HUGE if offset else mmap.PAGESIZE
        return min(-(-(self._start + offset) // page) * page, self._last)

    def _mark_small(self, first: int, end: int) -> None:
        """No huge pages from ``first`` to ``end``, and further where every thread wants none."""
        if end <= self._marked:
            return
        wanted = min(first + _AHEAD, *(thread.small_until for thread in list(self._threads.values())))
        _madvise(first, max(end, wanted) - first, mmap.MADV_NOHUGEPAGE)
        self._marked = max(self._marked, wanted)

    @staticmethod
    def _learn_of_small(thread: _Thread, cost: float) -> None:
        thread.small = max(cost, _SMALL)
        if thread.small > thread.bad:
            thread.small_until = 0

    def _learn_of_huge(self, thread: _Thread, end: int, size: int, cost: float) -> None:
        if cost <= thread.small:
            thread.pause = max(_FIRST_PAUSE, thread.pause / _SHORTER)
            return
        thread.bad = cost
        thread.small_until = min(end + int(thread.pause) * size, self._last)
        thread.pause *= _LONGER
