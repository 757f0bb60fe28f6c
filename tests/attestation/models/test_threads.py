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
