"""What the audit log promises, over SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbs.audit.check import check
from kbs.audit.record import GENESIS, Entry, Kind, Outcome
from kbs.audit.sql import SqlAuditLog
from kbs.errors import Conflict, StorageError
from kbs.storage.database import Database

KEY = bytes(range(32))


def entry(n=0, **more):
    return Entry(Kind.RELEASE, Outcome.ALLOWED, subject={"n": n}, decision=[{"id": "a.b", "ok": True}], **more)


@pytest.fixture
def log(database):
    log = SqlAuditLog(database, KEY)
    log.begin()
    return log


def intact(log):
    report = check(log.records(), log.head(), KEY)
    assert report.findings == ()
    return report


def test_empty_log_is_intact(log):
    assert intact(log).records == 0
    assert log.head().hash == GENESIS


def test_records_come_back_in_order_and_chained(log):
    written = [log.append(entry(n), at=1000 + n) for n in range(5)]
    assert list(log.records()) == written
    assert list(log.records(first=4)) == written[3:]
    assert log.last(2) == tuple(written[3:])
    assert [record.seq for record in written] == [1, 2, 3, 4, 5]
    assert written[0].previous == GENESIS
    assert all(b.previous == a.hash for a, b in itertools.pairwise(written))
    assert log.head().count == 5
    assert intact(log).head == written[-1].hash


def test_more_records_than_one_chunk_are_read(log, database):
    with database.transaction():
        for n in range(1203):
            log.append(entry(n), at=1)
    assert intact(log).records == 1203


def test_records_of_one_kind_are_all_of_it_in_order(log, database):
    with database.transaction():
        written = [log.append(Entry(Kind.TRUST if n % 2 else Kind.ADMIN, Outcome.ALLOWED), at=n) for n in range(1203)]
    assert list(log.of_kind(Kind.TRUST)) == written[1::2]
    assert list(log.of_kind(Kind.RELEASE)) == []


def test_record_is_found_by_its_reference(log):
    written = [log.append(entry(n), at=1) for n in range(3)]
    assert log.find(written[1].reference) == written[1]
    assert log.find("0" * 16) is None


def test_record_tells_what_was_written(log):
    log.append(Entry(Kind.ATTESTATION, Outcome.REFUSED, "tdx.quote.signature", {"tee": "tdx", "key": b"\x01\x02"},
                     {"checks": [{"id": "x", "ok": False, "got": 2**60}]}), at=77)
    (record,) = log.records()
    told = record.told()
    assert (told["seq"], told["at"], told["kind"], told["outcome"]) == (1, 77, "attestation", "refused")
    assert told["error"] == "tdx.quote.signature"
    assert told["subject"] == {"tee": "tdx", "key": "0102"}
    assert told["decision"] == {"checks": [{"id": "x", "ok": False, "got": str(2**60)}]}


def test_log_is_begun_once(log):
    log.append(entry(), at=1)
    with pytest.raises(Conflict) as refused:
        log.begin()
    assert refused.value.id == "audit.begun"
    assert intact(log).records == 1


def test_log_that_was_never_begun_takes_nothing(database):
    with pytest.raises(StorageError) as refused:
        SqlAuditLog(database, KEY).append(entry(), at=1)
    assert refused.value.id == "audit.head.missing"


def test_log_with_another_key_takes_nothing(log, database):
    with pytest.raises(StorageError) as refused:
        SqlAuditLog(database, bytes(32)).append(entry(), at=1)
    assert refused.value.id == "audit.head.mac"
    assert intact(log).records == 0


def test_record_of_a_failed_transaction_is_not_there(log, database):
    log.append(entry(0), at=1)

    def failing():
        with database.transaction():
            log.append(entry(1), at=1)
            raise RuntimeError("after appending")

    with pytest.raises(RuntimeError):
        failing()
    log.append(entry(2), at=1)
    assert [record.told()["subject"]["n"] for record in log.records()] == [0, 2]
    intact(log)


def test_concurrent_threads_make_one_chain(log):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: log.append(entry(n), at=1), range(120)))
    assert intact(log).records == 120
    assert {record.told()["subject"]["n"] for record in log.records()} == set(range(120))


def append_many(url, first):
    database = Database(url, durability="normal")
    log = SqlAuditLog(database, KEY)
    for n in range(first, first + 60):
        log.append(entry(n), at=1)
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_concurrent_processes_make_one_chain(kind, database_url):
    url = database_url(kind)
    database = Database(url)
    database.prepare()
    SqlAuditLog(database, KEY).begin()
    database.close()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=append_many, args=(url, 100 * n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    log = SqlAuditLog(database, KEY)
    assert intact(log).records == 120
    database.close()
