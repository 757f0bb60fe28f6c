"""What is remembered is bounded, and the oldest goes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from kbs.services.remembered import Remembered


def test_oldest_is_forgotten():
    kept = Remembered[int](2)
    for number in range(3):
        kept.put(b"%d" % number, number)
    assert [kept.get(b"%d" % number) for number in range(3)] == [None, 1, 2]


def test_last_word_counts():
    kept = Remembered[int](2)
    kept.put(b"a", 1)
    kept.put(b"a", 2)
    kept.put(b"b", 3)
    assert (kept.get(b"a"), kept.get(b"b"), kept.get(b"c")) == (2, 3, None)


def test_threads_stay_within_the_bound():
    kept = Remembered[int](10)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: kept.put(b"%d" % number, number), range(2000)))
    assert sum(kept.get(b"%d" % number) is not None for number in range(2000)) == 10
