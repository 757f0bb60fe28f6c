"""Bringing fresh memory in before it is written to.

Loading a model is limited by fresh memory, not by the cipher: with pages of 4 KiB, faults take about two thirds of the
processor time. Two things help. Asking for the pages of a span at once takes a quarter of that away. Huge pages take
nearly all of it away, unless the hypervisor has taken free memory back: then each costs more than the small pages in
its place, since it is the large free blocks that were taken. Nothing tells which blocks those are, but they come in
runs. So it is measured on the way: after a bad block small pages are asked for, for longer each time.
"""

from __future__ import annotations

import ctypes
import mmap
import time

# Linux 5.14. The module `mmap` does not name it, and its own madvise would hold the interpreter's lock.
_MADV_POPULATE_WRITE = 23
_HUGE = 1 << 21
# Seconds per byte from which on huge pages are not worth having: 2 MiB in 1 ms is what small pages take.
_SLOW = 1e-3 / _HUGE
# By how much the spans that are left to small pages grow with each bad block, and shrink with each good one.
_STEP = 4

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Prefault:
    """The memory of one writable buffer, to be brought in from front to back. The buffer must outlive this object.

    These are hints, and what the memory holds does not change: where the kernel does not know them, pages come as they
    are written.
    """

    __slots__ = ("_last", "_pause", "_small_until", "_start")

    def __init__(self, view: memoryview) -> None:
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
        self._last = (self._start + len(view)) // mmap.PAGESIZE * mmap.PAGESIZE
        self._small_until = 0
        self._pause = 1

    def bring(self, offset: int, size: int) -> None:
        """Have the pages that begin among ``size`` bytes at ``offset`` in memory, huge ones where they fit."""
        first, end = self._edge(offset), self._edge(offset + size)
        if first >= end:
            return
        # This thread's processor time: the hypervisor's work counts in it, being preempted does not.
        before = time.thread_time()
        _madvise(first, end - first, _MADV_POPULATE_WRITE)
        if end > self._small_until:
            self._judge(end, end - first, time.thread_time() - before)

    def _edge(self, offset: int) -> int:
        """Where in memory the pages of the span before ``offset`` end and those of the next begin: two threads that
        bring in halves of one huge page would both make it."""
        page = _HUGE if offset else mmap.PAGESIZE
        return min(-(-(self._start + offset) // page) * page, self._last)

    def _judge(self, end: int, size: int, seconds: float) -> None:
        """Learn from what a span of ``size`` bytes up to ``end`` took, for which huge pages were asked."""
        if seconds <= _SLOW * size:
            self._pause = max(1, self._pause // _STEP)
            return
        self._small_until = min(end + self._pause * size, self._last)
        _madvise(end, self._small_until - end, mmap.MADV_NOHUGEPAGE)
        self._pause *= _STEP
