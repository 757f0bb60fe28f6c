"""The first schema: versioned items, taken challenges, the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Every table of `kbs.storage.schema` as it was at this revision."""
    op.create_table(
        "kbs_item",
        sa.Column("space", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        comment="the newest version number of every key that ever existed",
    )
    op.create_table(
        "kbs_item_version",
        sa.Column("space", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "kbs_generation",
        sa.Column("space", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        comment="grows with every change in a space",
    )
    op.create_table(
        "kbs_challenge",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.LargeBinary, nullable=True),
        comment="challenges that were taken; outcome is the sealed token, NULL after a refusal",
    )
    op.create_index("kbs_challenge_expires_at", "kbs_challenge", ["expires_at"])
    op.create_table(
        "kbs_audit_record",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "kbs_audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        comment="one row: how many records there are and the hash of the last, authenticated",
    )
