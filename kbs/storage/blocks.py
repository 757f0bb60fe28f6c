"""What is done with one connection of a `Database`: reading, or a transaction that may write.

Blocks of a thread nest: an inner one joins the transaction that is open. What the driver raises leaves as
`StorageError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable

from kbs.errors import StorageError

if TYPE_CHECKING:
    from kbs.storage.database import Database


class Link:
    """One connection for the length of a transaction. Values are given by the names of a statement's parameters."""

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database, connection: Any) -> None:
        self._database = database
        self._connection = connection

    def run(self, statement: Executable, values: Mapping[str, Any]) -> int:
        """How many rows were changed."""
        return int(self._execute(statement, values).rowcount)

    def one(self, statement: Executable, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The first row, None when there is none."""
        row: tuple[Any, ...] | None = self._execute(statement, values).fetchone()
        return row

    def all(self, statement: Executable, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Every row."""
        rows: list[tuple[Any, ...]] = self._execute(statement, values).fetchall()
        return rows

    def _execute(self, statement: Executable, values: Mapping[str, Any]) -> Any:
        return self._connection.execute(*self._database.compiled(statement, values))


class _Block:
    """On a connection of its own; None while it joins its thread's open transaction."""

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None


class Reading(_Block):
    """What `Database.reading` gives. A thread's open transaction is joined."""

    __slots__ = ()

    def __enter__(self) -> Link:
        joined: Link | None = getattr(self._database.here, "link", None)
        if joined is not None:
            return joined
        try:
            self._connection = self._database.take()
        except self._database.faults as error:
            raise told(error) from None
        return Link(self._database, self._connection)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._connection is None:
            return
        if isinstance(error, self._database.faults):
            self._connection.close()
            raise told(error) from None
        self._database.give(self._connection)


class Writing(_Block):
    """What `Database.writing` gives. A thread's open transaction is joined, and ends with the block that opened it."""

    __slots__ = ()

    def __enter__(self) -> Link:
        database = self._database
        joined: Link | None = getattr(database.here, "link", None)
        if joined is not None:
            return joined
        if database.turn is not None:
            database.turn.take()
        try:
            self._connection = self._begin()
        except BaseException as error:
            self._end_turn()
            if isinstance(error, database.faults):
                raise told(error) from None
            raise
        link: Link = Link(database, self._connection)
        database.here.link = link
        return link

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._connection is None:
            return
        self._database.here.link = None
        try:
            self._settle(error)
        except BaseException as fault:
            self._connection.close()
            if isinstance(fault, (*self._database.faults, OSError)):
                raise told(fault) from None
            raise
        self._database.give(self._connection)

    def _begin(self) -> Any:
        connection = self._database.take()
        if self._database.is_sqlite:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except BaseException:
                connection.close()
                raise
        return connection

    def _settle(self, error: BaseException | None) -> None:
        """Commit and wait for the disk, or roll back after ``error``; raises a fault of the driver's again."""
        database, number = self._database, 0
        try:
            if error is not None:
                self._connection.rollback()
            else:
                self._connection.commit()
                number = database.flush.written() if database.flush else 0
        finally:
            self._end_turn()
        if isinstance(error, database.faults):
            raise error
        if database.flush and number:
            database.flush.wait(number)

    def _end_turn(self) -> None:
        if self._database.turn is not None:
            self._database.turn.give()


def told(error: BaseException) -> StorageError:
    """The driver's error as ours; the cause is to be cut, because it may show values."""
    return StorageError("storage.database", f"the database failed ({type(error).__name__})")
