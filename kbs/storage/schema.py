"""The tables, as the newest migration leaves them.

One database holds everything, so that what belongs together is one commit. Names carry ``kbs_`` because PostgreSQL
databases are shared. Byte strings are hashes or sealed values; nothing here is a secret or a token in the clear.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()

# The migration that makes these tables; `database.prepare` compares it with what the database says.
REVISION = "0001"

ITEM = Table(
    "kbs_item", METADATA,
    Column("space", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("live", Boolean, nullable=False),
    comment="the newest version number of every key that ever existed",
)

ITEM_VERSION = Table(
    "kbs_item_version", METADATA,
    Column("space", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored_at", BigInteger, nullable=False),
)

GENERATION = Table(
    "kbs_generation", METADATA,
    Column("space", String, primary_key=True),
    Column("number", BigInteger, nullable=False),
    comment="grows with every change in a space",
)

CHALLENGE = Table(
    "kbs_challenge", METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Column("outcome", LargeBinary, nullable=True),
    Index("kbs_challenge_expires_at", "expires_at"),
    comment="challenges that were taken; outcome is the sealed token, NULL after a refusal",
)

AUDIT_RECORD = Table(
    "kbs_audit_record", METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

AUDIT_HEAD = Table(
    "kbs_audit_head", METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    comment="one row: how many records there are and the hash of the last, authenticated",
)
