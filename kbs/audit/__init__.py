"""The tamper-evident log of every decision.

Rules of the room: a record is appended before the answer it is about leaves, and before anything is opened; records are
only ever appended; nothing secret and no token is in them. `record` says what a record is and how it is hashed, `sql`
keeps records, `check` finds what was done to them, `export` writes and reads copies.
"""
