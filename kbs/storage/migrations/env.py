"""How alembic reaches the database: over the connection that `kbs.storage.migrate` opened, inside its transaction."""

from __future__ import annotations

from alembic import context

from kbs.storage.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA,
                  version_table="kbs_revision")
context.run_migrations()
