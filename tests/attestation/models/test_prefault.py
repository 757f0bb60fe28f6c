"""Bringing memory in is a hint: whatever the kernel makes of it, the bytes stay what they were."""

from __future__ import annotations

import ctypes
import mmap
import random
from pathlib import Path

import pytest

from attestation.models import prefault

SIZE = (5 << 20) + 123


@pytest.mark.parametrize("limit", [-1.0, 1e9])  # every span is too slow, and none
@pytest.mark.parametrize("advice", [mmap.MADV_HUGEPAGE, mmap.MADV_NOHUGEPAGE])
def test_content_does_not_change(monkeypatch, limit, advice):
    monkeypatch.setattr(prefault, "_SLOW", limit)
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
    monkeypatch.setattr(prefault, "_SLOW", limit)
    monkeypatch.setattr(prefault, "_madvise", lambda start, size, advice: told.append((start, start + size)))
    memory = memoryview(mmap.mmap(-1, 9 * mmap.PAGESIZE))[100:-100]
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    pages = prefault.Prefault(memory)
    for offset in (0, 5 * mmap.PAGESIZE, 8 * mmap.PAGESIZE):
        pages.bring(offset, 1 << 21)
    assert told
    assert all(first <= start <= end <= first + len(memory) for start, end in told)
