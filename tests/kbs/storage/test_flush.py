"""Commits to an SQLite file are on the disk before anything that rests on them is shown, and block nobody meanwhile."""

from __future__ import annotations

import os
import threading

import pytest
from sqlalchemy import text

from kbs.errors import StorageError
from kbs.storage.database import Database
from kbs.storage.engine import sqlite_url

REAL = os.fdatasync


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "kbs.sqlite"))
    with opened.writing() as link:
        link.run(text("CREATE TABLE t (n INTEGER)"), {})
    yield opened
    opened.close()


def add(database, number):
    with database.writing() as link:
        link.run(text("INSERT INTO t VALUES (:n)"), {"n": number})


def numbers(database):
    with database.reading() as link:
        return [row[0] for row in link.all(text("SELECT n FROM t ORDER BY n"), {})]


def test_block_ends_when_the_log_with_its_commit_is_on_the_disk(database, monkeypatch, tmp_path):
    seen = []

    def sync(file):
        seen.append((os.path.samestat(os.fstat(file), (tmp_path / "kbs.sqlite-wal").stat()), numbers(database)))
        REAL(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    add(database, 1)
    assert seen == [(True, [1])]


def test_rolled_back_block_waits_for_nothing(database, monkeypatch):
    monkeypatch.setattr(os, "fdatasync", lambda _: pytest.fail("synced"))

    def change_their_mind():
        with database.writing() as link:
            link.run(text("INSERT INTO t VALUES (1)"), {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_their_mind()
    assert numbers(database) == []


def test_others_write_while_somebody_waits_and_one_wait_serves_them_all(database, monkeypatch):
    waits, entered, go_on = [], threading.Event(), threading.Event()

    def slow(file):
        waits.append(file)
        entered.set()
        assert go_on.wait(10)
        REAL(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=add, args=(database, 1))]
    threads[0].start()
    assert entered.wait(10)
    threads += [threading.Thread(target=add, args=(database, number)) for number in range(2, 6)]
    for thread in threads[1:]:
        thread.start()
    for _ in range(1000):
        if numbers(database) == [1, 2, 3, 4, 5]:  # committed, though the first still waits
            break
        threading.Event().wait(0.01)
    assert numbers(database) == [1, 2, 3, 4, 5]
    assert all(thread.is_alive() for thread in threads)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(waits) == 2


def test_disk_that_fails_is_an_error_and_not_an_answer(database, monkeypatch):
    def broken(_file):
        raise OSError(5, "canary")

    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(StorageError) as refused:
        add(database, 1)
    assert refused.value.id == "storage.database"
    assert "canary" not in str(refused.value)


def test_disk_that_failed_once_is_not_believed_again(database, monkeypatch):
    """The kernel forgets pages that it could not write: the next sync succeeds without them."""
    answers = iter([OSError(5, "x")])

    def fails_once(file):
        for error in answers:
            raise error
        REAL(file)

    monkeypatch.setattr(os, "fdatasync", fails_once)
    for number in (1, 2):
        with pytest.raises(StorageError):
            add(database, number)
    assert numbers(database) == [1, 2]


def test_wait_that_is_put_off_is_left_to_the_caller(database, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    _, commit = database.flush.put_off(lambda: (add(database, 1), add(database, 2)))
    assert synced == []
    assert not database.flush.is_durable(commit)
    database.flush.sync(commit)
    assert len(synced) == 1
    assert database.flush.is_durable(commit)
    assert database.flush.put_off(lambda: numbers(database)) == ([1, 2], 0)


def test_after_a_block_put_off_commits_wait_again(database, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with pytest.raises(ZeroDivisionError):
        database.flush.put_off(lambda: 1 / 0)
    add(database, 1)
    assert len(synced) == 1
