"""The log in a `Database`: one table that is only inserted into, and one row that says where it stands.

The head row is locked for the length of the transaction, so records of any number of threads, processes and machines
form one chain. Whatever else a transaction does comes first and the log last, so that two transactions never wait for
each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Executable, bindparam, insert, select, update

from kbs.audit.record import GENESIS, Entry, Head, Kind, Record, next_record
from kbs.errors import Conflict, StorageError
from kbs.storage.database import Database
from kbs.storage.schema import AUDIT_HEAD, AUDIT_RECORD

_CHUNK = 500
_ROW = (AUDIT_RECORD.c.seq, AUDIT_RECORD.c.at, AUDIT_RECORD.c.kind, AUDIT_RECORD.c.body, AUDIT_RECORD.c.previous,
        AUDIT_RECORD.c.hash)
_HEAD = select(AUDIT_HEAD.c.count, AUDIT_HEAD.c.hash, AUDIT_HEAD.c.mac).where(AUDIT_HEAD.c.id == 1)
_LOCK_HEAD = _HEAD.with_for_update()
_INSERT = insert(AUDIT_RECORD)
_MOVE_HEAD = update(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1).values(
    count=bindparam("n"), hash=bindparam("h"), mac=bindparam("m"))
_FROM = (select(*_ROW).where(AUDIT_RECORD.c.seq >= bindparam("first")).order_by(AUDIT_RECORD.c.seq)
         .limit(_CHUNK))
_OF_KIND = (select(*_ROW).where(AUDIT_RECORD.c.kind == bindparam("kind"), AUDIT_RECORD.c.seq >= bindparam("first"))
            .order_by(AUDIT_RECORD.c.seq).limit(_CHUNK))
_LAST = select(*_ROW).order_by(AUDIT_RECORD.c.seq.desc()).limit(bindparam("n"))


class SqlAuditLog:
    """``key`` (32 bytes) vouches for the head and is kept outside the database."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key

    def begin(self) -> None:
        """Start an empty log. Raises `Conflict` when there is one: a log is begun once, with its database."""
        head = Head.at(0, GENESIS, self._key)
        row = {"id": 1, "count": 0, "hash": head.hash, "mac": head.mac}
        statement = self._database.insert(AUDIT_HEAD).on_conflict_do_nothing().returning(AUDIT_HEAD.c.id)
        with self._database.writing() as link:
            if link.one(statement, row) is None:
                raise Conflict("audit.begun", "the audit log exists already")

    def append(self, entry: Entry, at: int) -> Record:
        """See `AuditLog.append`."""
        body = entry.body()
        with self._database.writing() as link:
            head = self._trusted(link.one(_LOCK_HEAD, {}))
            record = next_record(head.hash, head.count + 1, at, entry.kind.value, body)
            moved = Head.at(record.seq, record.hash, self._key)
            link.run(_INSERT, _row(record))
            link.run(_MOVE_HEAD, {"n": moved.count, "h": moved.hash, "m": moved.mac})
        return record

    def head(self) -> Head:
        """See `AuditLog.head`."""
        with self._database.reading() as link:
            return self._stated(link.one(_HEAD, {}))

    def records(self, first: int = 1) -> Iterator[Record]:
        """See `AuditLog.records`."""
        return self._chunks(_FROM, {}, first)

    def of_kind(self, kind: Kind) -> Iterator[Record]:
        """See `AuditLog.of_kind`."""
        return self._chunks(_OF_KIND, {"kind": kind.value}, 1)

    def _chunks(self, statement: Executable, values: dict[str, Any], first: int) -> Iterator[Record]:
        while True:
            with self._database.reading() as link:
                rows = link.all(statement, {**values, "first": first})
            yield from map(_record, rows)
            if len(rows) < _CHUNK:
                return
            first = int(rows[-1][0]) + 1

    def last(self, count: int) -> tuple[Record, ...]:
        """See `AuditLog.last`."""
        with self._database.reading() as link:
            rows = link.all(_LAST, {"n": count})
        return tuple(map(_record, reversed(rows)))

    def find(self, reference: str) -> Record | None:
        """See `AuditLog.find`; reads the whole log."""
        wanted = reference.lower()
        return next((record for record in self.records() if record.hash.hex().startswith(wanted)), None)

    def _trusted(self, row: tuple[Any, ...] | None) -> Head:
        head = self._stated(row)
        if not head.vouched_by(self._key):
            raise StorageError("audit.head.mac", "the audit log's head was altered; nothing is appended to it")
        return head

    def _stated(self, row: tuple[Any, ...] | None) -> Head:
        if row is None:
            raise StorageError("audit.head.missing", "the audit log has no head: it was never begun, or removed")
        count, hash, mac = row
        return Head(_number(count), _octets(hash), _octets(mac))


def _row(record: Record) -> dict[str, Any]:
    return {"seq": record.seq, "at": record.at, "kind": record.kind, "body": record.body, "previous": record.previous,
            "hash": record.hash}


def _record(row: tuple[Any, ...]) -> Record:
    seq, at, kind, body, previous, hash = row
    return Record(_number(seq), _number(at), str(kind), _octets(body), _octets(previous), _octets(hash))


# SQLite keeps whatever type somebody writes. What is not of ours is read as something that no check lets pass.


def _number(value: Any) -> int:
    return value if type(value) is int else -1


def _octets(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, bytes | memoryview) else b""
