from __future__ import annotations

import threading

import pytest

from attestation.models.threads import in_threads


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_item_is_worked_on_once(workers):
    done, lock = [], threading.Lock()

    def work(item):
        with lock:
            done.append(item)

    in_threads(work, range(3, 200, 2), workers)
    assert sorted(done) == list(range(3, 200, 2))


@pytest.mark.parametrize("workers", [1, 4])
def test_first_failure_in_order_is_raised_and_no_other_item_begun(workers):
    begun = []

    def work(item):
        begun.append(item)
        if item >= 10:
            raise ValueError(item)

    with pytest.raises(ValueError, match=r"^10$"):
        in_threads(work, range(1000), workers)
    assert len(begun) <= 10 + workers


def test_one_worker_stays_in_the_callers_thread():
    seen = set()
    in_threads(lambda _: seen.add(threading.get_ident()), range(5), 1)
    assert seen == {threading.get_ident()}


def test_callers_thread_is_one_of_the_workers():
    everybody, seen = threading.Barrier(3, timeout=30), set()

    def work(_):
        everybody.wait()
        seen.add(threading.get_ident())

    in_threads(work, range(3), 3)
    assert threading.get_ident() in seen
    assert len(seen) == 3


def test_an_interrupted_caller_leaves_nobody_working_on():
    interrupted, caller = threading.Event(), threading.get_ident()

    def work(_):
        if threading.get_ident() == caller:
            interrupted.set()
            raise KeyboardInterrupt
        interrupted.wait(30)

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(1_000_000), 3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unseal")]
