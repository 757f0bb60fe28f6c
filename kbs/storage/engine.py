"""How a database is opened: its URL, SQLAlchemy's engine for it, and the settings of every SQLite connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from kbs.errors import SetupError

Durability = Literal["normal", "full"]

WRITES = "kbs_writes"

_BUSY_SECONDS = 15


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def parsed_url(url: str) -> URL:
    """``url`` with its driver. Raises `SetupError` for a database that is not supported."""
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


def beside(url: URL, suffix: str) -> Path | None:
    """The file of that suffix beside an SQLite database; None for one in memory."""
    return Path(url.database + suffix) if url.database and url.database != ":memory:" else None


def open_engine(url: URL, pool_size: int) -> Engine:
    """SQLAlchemy's engine; connections are made when they are asked for. Raises `SetupError` without a driver."""
    if url.drivername == "sqlite":
        engine = create_engine(url, hide_parameters=True, poolclass=NullPool,
                               connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False})
        _tune_sqlite(engine)
        return engine
    try:
        return create_engine(url, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size,
                             pool_pre_ping=True)
    except ModuleNotFoundError:
        raise SetupError("storage.driver", "PostgreSQL needs psycopg: pip install 'attestkit[postgres]'") from None


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are opened here, not by the driver's guess
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # the wait for the disk comes after: `kbs.storage.flush`
        connection.execute("PRAGMA secure_delete=ON")  # a deleted secret's sealed bytes do not linger in the file
        connection.execute("PRAGMA trusted_schema=OFF")

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
