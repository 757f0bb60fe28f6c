"""Bringing fresh memory in before it is written to.

Loading a model is limited by fresh memory, not by the cipher: with pages of 4 KiB, faults take about two thirds of the
processor time. Two things help. Asking for the pages of a span at once takes a quarter of that away. Huge pages take
nearly all of it away, unless the hypervisor has taken free memory back: then each costs more than the small pages in
its place, since it is the large free blocks that were taken. Nothing tells in advance, so it is measured on the way.
"""

from __future__ import annotations

import ctypes
import mmap
import time

# Linux 5.14. The module `mmap` does not name it, and its own madvise would hold the interpreter's lock.
_MADV_POPULATE_WRITE = 23
# Seconds per byte from which on huge pages are not worth having: 2 MiB in 1 ms is what small pages take.
_SLOW = 1e-3 / (1 << 21)

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Prefault:
    """The memory of one writable buffer, to be brought in from front to back. The buffer must outlive this object.

    These are hints, and what the memory holds does not change: where the kernel does not know them, pages come as they
    are written.
    """

    __slots__ = ("_end", "_huge", "_start")

    def __init__(self, view: memoryview) -> None:
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
        self._end = self._start + len(view)
        self._huge = True

    def bring(self, offset: int, size: int) -> None:
        """Have the whole pages among ``size`` bytes at ``offset`` in memory."""
        first = -(-(self._start + offset) // mmap.PAGESIZE) * mmap.PAGESIZE
        end = min(self._start + offset + size, self._end) // mmap.PAGESIZE * mmap.PAGESIZE
        if first >= end:
            return
        # This thread's processor time: the hypervisor's work counts in it, being preempted does not.
        before = time.thread_time()
        _madvise(first, end - first, _MADV_POPULATE_WRITE)
        if self._huge and time.thread_time() - before > _SLOW * (end - first):
            self._huge = False
            _madvise(end, self._end // mmap.PAGESIZE * mmap.PAGESIZE - end, mmap.MADV_NOHUGEPAGE)
