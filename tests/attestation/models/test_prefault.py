"""Bringing memory in is a hint: whatever the kernel makes of it, the bytes stay what they were."""

from __future__ import annotations

import ctypes
import mmap
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from attestation.models import prefault

SIZE = (5 << 20) + 123


@pytest.mark.parametrize("limit", [-1.0, 1e9])  # every span is too slow, and none
@pytest.mark.parametrize("advice", [mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE])
def test_content_does_not_change(monkeypatch, limit, advice):
    monkeypatch.setattr(prefault, "_Thread", partial(prefault._Thread, small=limit))
    memory = mmap.mmap(-1, SIZE)
    memory.madvise(advice)
    content = random.Random(1).randbytes(SIZE)
    memory[:] = content
    pages = prefault.Prefault(memoryview(memory)[7:])
    for offset in range(0, SIZE + (2 << 20), 1 << 20):
        pages.bring(offset, 1 << 21)
    assert memory[:] == content


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 12_288])
def test_buffers_of_any_size_are_left_as_they_are(size):
    buffer = bytearray(b"x" * size)
    prefault.Prefault(memoryview(buffer)).bring(0, size)
    assert buffer == b"x" * size


def test_pages_are_in_memory_afterwards():
    memory = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    before = resident()
    prefault.Prefault(memoryview(memory)).bring(0, 8 << 20)
    assert resident() - before > 7 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.parametrize("limit", [-1.0, 1e9])
def test_kernel_is_told_of_nothing_outside_the_buffer(monkeypatch, limit):
    told = []
    monkeypatch.setattr(prefault, "_Thread", partial(prefault._Thread, small=limit))
    monkeypatch.setattr(prefault, "_madvise", lambda start, size, advice: told.append((start, start + size)))
    memory = memoryview(mmap.mmap(-1, 9 * mmap.PAGESIZE))[100:-100]
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    pages = prefault.Prefault(memory)
    for offset in (0, 5 * mmap.PAGESIZE, 8 * mmap.PAGESIZE):
        pages.bring(offset, 1 << 21)
    assert told
    assert all(first <= start <= end <= first + len(memory) for start, end in told)


class Kernel:
    """Takes down what it is told, in spans of 2 MiB, and how long asking for their pages took in the threads' clock.

    slow: the spans whose huge pages take 4 ms instead of 0.1. small: how long small pages take, by span; 1 ms unless
    told otherwise. The memory it is told about begins ``skip`` bytes after a huge page does.
    """

    def __init__(self, monkeypatch, slow=(), small=None, skip=0):
        self.slow, self.small_cost, self.clock = slow, small or {}, 0.0
        self.brought, self.huge, self.small = [], [], []
        memory = memoryview(mmap.mmap(-1, 65 * prefault._HUGE))
        aligned = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % prefault._HUGE
        self.memory = memory[aligned + skip : aligned + 64 * prefault._HUGE]
        self.first = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        monkeypatch.setattr(prefault, "_madvise", self.advised)
        monkeypatch.setattr(prefault.time, "thread_time", lambda: self.clock)
        self.pages = prefault.Prefault(self.memory)

    def advised(self, start, size, advice):
        if advice == mmap.MADV_NOHUGEPAGE:
            self.small.append(range(self.number(start) + 1, self.number(start + size) + 1))
            return
        self.brought.append((start, start + size))
        number = self.number(start + size)
        if any(number in spans for spans in self.small):
            self.clock += self.small_cost.get(number, 1e-3)
        else:
            self.huge.append(number)
            self.clock += 4e-3 if number in self.slow else 1e-4

    def number(self, address):
        return -(-(address - self.first) // prefault._HUGE) - 1

    def bring(self, number):
        self.pages.bring(number * prefault._HUGE, prefault._HUGE)

    def bring_all(self):
        for number in range(-(-len(self.memory) // prefault._HUGE)):
            self.bring(number)


@pytest.mark.parametrize("skip", [0, 100, 5000, prefault._HUGE - 1])
def test_spans_share_no_huge_page_and_leave_none_out(monkeypatch, skip):
    kernel = Kernel(monkeypatch, skip=skip)
    kernel.bring_all()
    starts, ends = zip(*kernel.brought, strict=True)
    assert starts[1:] == ends[:-1]
    assert all(start % prefault._HUGE == 0 for start in starts[1:])
    assert starts[0] - kernel.first < mmap.PAGESIZE
    assert kernel.first + len(kernel.memory) - ends[-1] < mmap.PAGESIZE


def test_small_pages_are_asked_for_longer_after_each_bad_block(monkeypatch):
    kernel = Kernel(monkeypatch, slow=range(64))
    kernel.bring_all()
    assert kernel.huge == [0, 5, 38]


def test_good_blocks_make_up_for_bad_ones(monkeypatch):
    kernel = Kernel(monkeypatch, slow={3, 20})
    kernel.bring_all()
    assert kernel.huge == [number for number in range(64) if number not in {4, 5, 6, 7, 21, 22, 23, 24}]


def test_a_few_good_blocks_do_not_make_up_for_a_bad_one(monkeypatch):
    kernel = Kernel(monkeypatch, slow={3, 10})
    kernel.bring_all()
    assert kernel.huge == [0, 1, 2, 3, 8, 9, 10, *range(25, 64)]


def test_where_all_blocks_are_good_nothing_else_is_asked_for(monkeypatch):
    kernel = Kernel(monkeypatch)
    kernel.bring_all()
    assert kernel.small == []
    assert len(kernel.brought) == 64


def test_huge_pages_are_asked_for_again_where_small_ones_cost_more(monkeypatch):
    kernel = Kernel(monkeypatch, slow=range(64), small=dict.fromkeys(range(64), 5e-3))
    kernel.bring_all()
    assert kernel.huge == [0, *range(5, 64)]


def test_small_pages_that_run_out_end_the_pause(monkeypatch):
    kernel = Kernel(monkeypatch, slow={0, 5, *range(17, 64)}, small=dict.fromkeys(range(16, 64), 5e-3))
    kernel.bring_all()
    assert kernel.huge[:2] == [0, 5]
    assert set(range(22, 64)) <= set(kernel.huge)


def test_what_one_thread_learned_does_not_bind_another(monkeypatch, two_threads):
    one, other = two_threads
    kernel = Kernel(monkeypatch, slow=range(0, 64, 2))
    for number in range(0, 64, 2):
        one(kernel.bring, number)
        other(kernel.bring, number + 1)
    assert [number for number in kernel.huge if number % 2 == 0] == [0, 6, 40]
    assert [number for number in kernel.huge if number % 2] == [*range(1, 64, 2)]


def test_what_no_thread_wants_in_huge_pages_is_told_at_once(monkeypatch, two_threads):
    one, other = two_threads
    kernel = Kernel(monkeypatch, slow=range(64))
    for number in range(0, 64, 2):
        one(kernel.bring, number)
        other(kernel.bring, number + 1)
    assert len(kernel.small) < 10
    assert max(map(len, kernel.small)) == 16


@pytest.fixture
def two_threads():
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        yield [lambda work, *given, at=at: at.submit(work, *given).result() for at in (one, other)]
