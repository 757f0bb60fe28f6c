"""Taken challenges in a `Database`: the primary key is what makes *take* happen once."""

from __future__ import annotations

from sqlalchemy import BindParameter, bindparam, delete, select

from kbs.sessions.base import SWEEP_MARGIN, Taken, spent
from kbs.storage.database import Database
from kbs.storage.schema import CHALLENGE

_ID: BindParameter[bytes] = bindparam("i")
_FIND = select(CHALLENGE.c.outcome).where(CHALLENGE.c.id == _ID)
_SWEEP = delete(CHALLENGE).where(CHALLENGE.c.expires_at <= bindparam("before"))


class SqlSessions:
    """One row per taken challenge."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(CHALLENGE).on_conflict_do_nothing().returning(CHALLENGE.c.expires_at)

    def take(self, id: bytes, *, expires_at: int, outcome: bytes | None) -> None:
        """See `Sessions.take`."""
        row = {"id": id, "expires_at": expires_at, "outcome": outcome}
        with self._database.writing() as link:
            if link.one(self._insert, row) is None:
                raise spent()

    def find(self, id: bytes) -> Taken | None:
        """See `Sessions.find`."""
        with self._database.reading() as link:
            row = link.one(_FIND, {"i": id})
        if row is None:
            return None
        return Taken(None if row[0] is None else bytes(row[0]))

    def sweep(self, at: int) -> int:
        """See `Sessions.sweep`."""
        with self._database.writing() as link:
            return link.run(_SWEEP, {"before": at - SWEEP_MARGIN})
