"""The one SQL database that adapters share: connections, transactions and the schema's migrations.

SQLAlchemy writes the statements, once each, and pools the connections; the driver runs them. SQLite runs in WAL mode
with one writer at a time (`BEGIN IMMEDIATE`, so a transaction that will write never has to be retried half-way);
PostgreSQL with READ COMMITTED and row locks where adapters ask for them. Statements never carry values in their text,
and errors of the driver leave here as `StorageError` without the values.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import Executable, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import Table

from kbs.storage.blocks import Reading, Writing, told
from kbs.storage.engine import Durability, beside, open_engine, parsed_url
from kbs.storage.flush import Flush
from kbs.storage.schema import REVISION
from kbs.storage.turn import Turn


class Database:
    """One database. Safe to share between threads; made anew after a fork.

    url: ``sqlite:///FILE`` or ``postgresql://…`` (psycopg 3). durability: ``full`` waits for the disk at every commit;
    ``normal`` survives the end of the process, but a power cut may undo the last commits. For SQLite only: PostgreSQL
    follows its own ``synchronous_commit``. ``faults``, ``turn``, ``here``, `take` and `give` are for
    `kbs.storage.blocks`.
    """

    def __init__(self, url: str, *, durability: Durability = "full", pool_size: int = 8) -> None:
        self._engine = open_engine(parsed_url(url), pool_size)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        self.faults = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error)
        self.turn = Turn(beside(self._engine.url, ".turn")) if self.is_sqlite else None
        log = beside(self._engine.url, "-wal") if self.is_sqlite and durability == "full" else None
        self.flush = None if log is None else Flush(log)
        self.here = threading.local()
        self._idle: deque[Any] = deque()
        self._compiled: dict[Executable, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Transactions`."""
        with self.writing():
            yield

    def writing(self) -> Writing:
        """A link in a transaction that may write: this thread's open one, or a new one committed at the end."""
        return Writing(self)

    def reading(self) -> Reading:
        """A link to read from: inside a transaction it sees what that wrote. Each statement sees its own moment."""
        return Reading(self)

    def insert(self, table: Table) -> Any:
        """An INSERT in the database's own dialect, which both have with ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def compiled(self, statement: Executable, values: Mapping[str, Any]) -> tuple[str, Any]:
        """What the driver is given: the statement's text, written once, and its values in the driver's form."""
        kept = self._compiled.get(statement)
        if kept is None:
            made: Any = statement.compile(dialect=self._engine.dialect)  # type: ignore[attr-defined]
            order = tuple(made.positiontup) if made.positional else None
            kept = self._compiled[statement] = str(made), _arranged(dict(made.params), order)
        sql, arrange = kept
        return sql, arrange(values)

    def prepare(self) -> None:
        """Bring the schema to `REVISION`. Raises `SetupError` when the database was made by a newer version."""
        with self._told():
            present = self.revision()
            if present != REVISION:
                from kbs.storage.migrate import upgrade

                upgrade(self._engine, present)

    def revision(self) -> str | None:
        """The schema's revision; None for an empty database."""
        with self._told(), self._engine.connect() as connection:
            if not inspect(connection).has_table("kbs_revision"):
                return None
            return str(connection.execute(text("SELECT version_num FROM kbs_revision")).scalar_one())

    def close(self) -> None:
        """Close every pooled connection."""
        while self._idle:
            self._idle.pop().close()
        self._engine.dispose()
        if self.turn is not None:
            self.turn.close()

    def take(self) -> Any:
        """A pooled connection of the driver's own kind; closing it is one way to give it back."""
        if not self.is_sqlite:
            return self._engine.raw_connection()
        # A file's connections need no reviving and leave no transaction open: keeping them is a list.
        try:
            return self._idle.pop()
        except IndexError:
            pooled = self._engine.raw_connection()
            connection = pooled.driver_connection
            pooled.detach()
            return connection

    def give(self, connection: Any) -> None:
        """Have a connection back on which nothing went wrong."""
        if self.is_sqlite:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.faults as error:
            raise told(error) from None


def _arranged(constants: dict[str, Any], order: tuple[str, ...] | None) -> Callable[[Mapping[str, Any]], Any]:
    """How a statement's own and its caller's values become what the driver is given; ``order`` None: by name."""
    if order is None:
        return lambda values: {**constants, **values}
    if len(order) < 2:
        return lambda values: tuple((values if name in values else constants)[name] for name in order)
    pick = itemgetter(*order)
    return (lambda values: pick({**constants, **values})) if constants.keys() & set(order) else pick
