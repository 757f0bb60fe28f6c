"""The SQL database: schema, durability, errors that tell nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from kbs.errors import SetupError, StorageError
from kbs.storage.database import Database
from kbs.storage.engine import sqlite_url
from kbs.storage.schema import METADATA, REVISION
from kbs.storage.sql import SqlStorage


@pytest.fixture
def url(tmp_path):
    return sqlite_url(tmp_path / "kbs.sqlite")


@pytest.fixture
def database(url):
    opened = Database(url)
    opened.prepare()
    yield opened
    opened.close()


def test_migrations_make_the_schema_that_the_code_uses(database):
    assert database.revision() == REVISION
    with database._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "kbs_revision"})
        assert compare_metadata(context, METADATA) == []


def test_preparing_twice_keeps_what_is_there(database, url):
    SqlStorage(database).put("resource", "k", b"kept")
    again = Database(url)
    again.prepare()
    assert SqlStorage(again).get("resource", "k").value == b"kept"
    again.close()


def test_database_of_a_newer_version_is_refused(database, url):
    with database.writing() as link:
        link.run(text("UPDATE kbs_revision SET version_num = '9999'"), {})
    with pytest.raises(SetupError) as refused:
        Database(url).prepare()
    assert refused.value.id == "storage.revision"


@pytest.mark.parametrize(("durability", "waits"), [("full", 1), ("normal", 0)])
def test_sqlite_runs_in_wal_mode_with_the_durability_asked_for(tmp_path, monkeypatch, durability, waits):
    database = Database(sqlite_url(tmp_path / "x.sqlite"), durability=durability)
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with database.writing() as link:
        assert link.one(text("PRAGMA journal_mode"), {}) == ("wal",)
        link.run(text("CREATE TABLE t (n INTEGER)"), {})
    assert len(synced) == waits
    database.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite+aiosqlite:///x", ""])
def test_database_of_another_kind_is_refused(url):
    with pytest.raises(SetupError) as refused:
        Database(url)
    assert refused.value.id == "storage.url"


def test_errors_of_the_driver_do_not_show_values(database):
    with database.writing() as link:
        link.run(text("DROP TABLE kbs_item_version"), {})
    with pytest.raises(StorageError) as refused:
        SqlStorage(database).put("resource", "k", b"canary-value")
    assert refused.value.id == "storage.database"
    assert "canary" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_read_only_database_fails_and_does_not_pretend(tmp_path, url, database):
    SqlStorage(database).put("resource", "k", b"1")
    database.close()
    reader = Database(url)
    with reader.reading() as link:
        link.run(text("PRAGMA query_only=ON"), {})
    with pytest.raises(StorageError) as refused:
        SqlStorage(reader).put("resource", "k", b"2")
    assert refused.value.id == "storage.database"
    reader.close()


WRITER = """
import sys
from kbs.storage.database import Database
from kbs.storage.sql import SqlStorage
database = Database(sys.argv[1])
storage = SqlStorage(database)
for number in range(100000):
    with database.transaction():
        storage.put("resource", "a", b"%d" % number)
        storage.put("resource", "b", b"%d" % number)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_kill_loses_nothing_acknowledged_and_leaves_no_half_transaction(url, database, tmp_path):
    acknowledged = -1
    for seen in (3, 17, 40):
        with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
            for _ in range(seen):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
        storage = SqlStorage(database)
        a, b = storage.get("resource", "a"), storage.get("resource", "b")
        assert a.value == b.value
        assert a.version == b.version
        assert int(a.value) >= acknowledged
    check = sqlite3.connect(tmp_path / "kbs.sqlite")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
