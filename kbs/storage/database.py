"""The one SQL database that adapters share: connections, transactions and the schema's migrations.

SQLAlchemy writes the statements, once each, and pools the connections; the driver runs them. SQLite runs in WAL mode
with one writer at a time (`BEGIN IMMEDIATE`, so a transaction that will write never has to be retried half-way);
PostgreSQL with READ COMMITTED and row locks where adapters ask for them. Statements never carry values in their text,
and errors of the driver leave here as `StorageError` without the values.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Executable, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import Table

from kbs.errors import SetupError, StorageError
from kbs.storage.schema import REVISION
from kbs.storage.turn import Turn

Durability = Literal["normal", "full"]

WRITES = "kbs_writes"

_BUSY_SECONDS = 15


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


class Database:
    """One database. Safe to share between threads; made anew after a fork.

    url: ``sqlite:///FILE`` or ``postgresql://…`` (psycopg 3). durability: ``full`` waits for the disk at every commit;
    ``normal`` survives the end of the process, but a power cut may undo the last commits. For SQLite only: PostgreSQL
    follows its own ``synchronous_commit``.
    """

    def __init__(self, url: str, *, durability: Durability = "full", pool_size: int = 8) -> None:
        self._engine = _engine(_parsed(url), durability, pool_size)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        self._faults = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error)
        self._turn = Turn(_turn_file(self._engine.url)) if self.is_sqlite else None
        self._here = threading.local()
        self._idle: deque[Any] = deque()
        self._compiled: dict[Executable, tuple[str, Mapping[str, Any], tuple[str, ...] | None]] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Transactions`."""
        with self.writing():
            yield

    @contextmanager
    def writing(self) -> Iterator[Link]:
        """A link in a transaction that may write: this thread's open one, or a new one committed at the end."""
        open_one: Link | None = getattr(self._here, "link", None)
        if open_one is not None:
            yield open_one
            return
        with self._turn or nullcontext(), self._told(), self._connection() as connection:
            if self.is_sqlite:
                connection.execute("BEGIN IMMEDIATE")
            self._here.link = Link(self, connection)
            try:
                yield self._here.link
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            finally:
                self._here.link = None

    @contextmanager
    def reading(self) -> Iterator[Link]:
        """A link to read from: inside a transaction it sees what that wrote. Each statement sees its own moment."""
        open_one: Link | None = getattr(self._here, "link", None)
        if open_one is not None:
            yield open_one
            return
        with self._told(), self._connection() as connection:
            yield Link(self, connection)

    def insert(self, table: Table) -> Any:
        """An INSERT in the database's own dialect, which both have with ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def compiled(self, statement: Executable, values: Mapping[str, Any]) -> tuple[str, Any]:
        """What the driver is given: the statement's text, written once, and its values in the driver's form."""
        kept = self._compiled.get(statement)
        if kept is None:
            made: Any = statement.compile(dialect=self._engine.dialect)  # type: ignore[attr-defined]
            order = tuple(made.positiontup) if made.positional else None
            kept = self._compiled[statement] = str(made), dict(made.params), order
        sql, constants, order = kept
        named = {**constants, **values} if constants else values
        return sql, named if order is None else tuple(named[name] for name in order)

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
        if self._turn is not None:
            self._turn.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A pooled connection of the driver's own kind."""
        if not self.is_sqlite:
            pooled = self._engine.raw_connection()
            try:
                yield pooled.driver_connection
            finally:
                pooled.close()
            return
        # A file's connections need no reviving and leave no transaction open: keeping them is a list.
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._opened()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _opened(self) -> Any:
        """A new connection to the file, tuned, which nobody else keeps."""
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        return connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The driver's errors as ours; the cause is cut, because it may show values."""
        try:
            yield
        except self._faults as error:
            raise StorageError("storage.database", f"the database failed ({type(error).__name__})") from None


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SetupError("storage.url", "not a database URL", expected="sqlite:///FILE or postgresql://…") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SetupError("storage.url", "not a database this broker can use",
                         expected="sqlite:///FILE or postgresql://…", got=parsed.drivername)
    return parsed


def _turn_file(url: URL) -> Path | None:
    """Beside the database; None for one in memory."""
    return Path(f"{url.database}.turn") if url.database and url.database != ":memory:" else None


def _engine(url: URL, durability: Durability, pool_size: int) -> Engine:
    if url.drivername == "sqlite":
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool,
                               connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
        _tune_sqlite(engine, durability)
        return engine
    try:
        return create_engine(url, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size,
                             pool_pre_ping=True)
    except ModuleNotFoundError:
        raise SetupError("storage.driver", "PostgreSQL needs psycopg: pip install 'attestkit[postgres]'") from None


def _tune_sqlite(engine: Engine, durability: Durability) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are opened here, not by the driver's guess
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA secure_delete=ON")  # a deleted secret's sealed bytes do not linger in the file
        connection.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
