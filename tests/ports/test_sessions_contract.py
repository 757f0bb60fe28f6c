"""What is promised of taken challenges (kbs.sessions.base), over every adapter."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbs.errors import SessionInvalid
from kbs.sessions.base import SWEEP_MARGIN
from kbs.sessions.memory import MemorySessions
from kbs.sessions.sql import SqlSessions
from kbs.storage.database import Database

ID = bytes(range(32))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def sessions(request, open_database):
    return MemorySessions() if request.param == "memory" else SqlSessions(open_database(request.param))


def test_challenge_that_was_not_taken_is_none(sessions):
    assert sessions.find(ID) is None


@pytest.mark.parametrize("outcome", [b"sealed token", None])
def test_taken_challenge_tells_its_outcome(sessions, outcome):
    sessions.take(ID, expires_at=100, outcome=outcome)
    assert sessions.find(ID).outcome == outcome
    assert "sealed" not in repr(sessions.find(ID))


@pytest.mark.parametrize("first", [b"token", None])
def test_second_take_is_refused_and_changes_nothing(sessions, first):
    sessions.take(ID, expires_at=100, outcome=first)
    with pytest.raises(SessionInvalid) as refused:
        sessions.take(ID, expires_at=900, outcome=b"other")
    assert refused.value.id == "session.spent"
    assert sessions.find(ID).outcome == first


def test_of_two_hundred_concurrent_takers_one_wins(sessions):
    def take(n):
        try:
            sessions.take(ID, expires_at=100, outcome=str(n).encode())
        except SessionInvalid as error:
            return error.id
        return n

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(take, range(200)))
    winners = [result for result in results if result != "session.spent"]
    assert len(winners) == 1
    assert sessions.find(ID).outcome == str(winners[0]).encode()


def test_sweep_forgets_only_what_is_long_expired(sessions):
    ids = [os.urandom(32) for _ in range(3)]
    for id, expires_at in zip(ids, (100, 101, 5000), strict=True):
        sessions.take(id, expires_at=expires_at, outcome=b"x")
    assert sessions.sweep(100) == 0
    assert sessions.sweep(100 + SWEEP_MARGIN) == 1
    assert [sessions.find(id) is not None for id in ids] == [False, True, True]


def take_all(url, ids, won):
    database = Database(url, durability="normal")
    sessions = SqlSessions(database)
    taken = []
    for id in ids:
        try:
            sessions.take(id, expires_at=100, outcome=None)
            taken.append(id)
        except SessionInvalid:
            pass
    won.put(taken)
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_processes_one_takes_each_challenge(kind, database_url):
    url = database_url(kind)
    database = Database(url)
    database.prepare()
    database.close()
    spawn = multiprocessing.get_context("spawn")
    ids, won = [os.urandom(32) for _ in range(100)], spawn.Queue()
    workers = [spawn.Process(target=take_all, args=(url, ids, won)) for _ in range(2)]
    for worker in workers:
        worker.start()
    taken = won.get(timeout=60) + won.get(timeout=60)
    for worker in workers:
        worker.join(60)
    assert sorted(taken) == sorted(ids)


def test_take_in_a_failed_transaction_did_not_happen(database):
    sessions = SqlSessions(database)

    def failing():
        with database.transaction():
            sessions.take(ID, expires_at=100, outcome=None)
            raise RuntimeError("after taking")

    with pytest.raises(RuntimeError):
        failing()
    sessions.take(ID, expires_at=100, outcome=b"now")
    assert sessions.find(ID).outcome == b"now"
