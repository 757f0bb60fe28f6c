"""Runs the shipped migrations; loaded only when the schema is not the newest."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, text

from kbs.errors import SetupError
from kbs.storage.engine import WRITES
from kbs.storage.schema import REVISION

FOLDER = Path(__file__).parent / "migrations"

# Any number: processes that migrate the same PostgreSQL database queue on it.
_ADVISORY_LOCK = 0x6B_62_73_01


def upgrade(engine: Engine, present: str | None) -> None:
    """From revision ``present`` (None: empty) to `REVISION`, all or nothing."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    if present is not None and present not in _known(config):
        raise SetupError("storage.revision", "the database was made by a newer version of this program",
                         expected=f"<= {REVISION}", got=present)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _ADVISORY_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, REVISION)
        except CommandError as error:
            raise SetupError("storage.revision", f"the schema could not be upgraded: {error}") from None


def _known(config: Config) -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
