"""The table of the queue, the digests of its rows, and SQL for what its JSON columns hold."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

VERSION = 2
COLUMNS = "id, number, state, attempts, created, prompt, extra, targets, client, record"
LAST_PLAUSIBLE_VERSION = 255

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    number REAL NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    extra TEXT NOT NULL,
    targets TEXT NOT NULL,
    client TEXT,
    record TEXT,
    digest TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number, seq);
"""

# Rows are digested as they are written. The triggers live in the connection, so that a damaged
# file cannot change them.
_DIGESTED = f"seq, {COLUMNS}"
_SET_DIGEST = f"UPDATE jobs SET digest = row_digest({_DIGESTED})"
_TRIGGERS = f"""
CREATE TEMP TRIGGER digest_new AFTER INSERT ON main.jobs
BEGIN {_SET_DIGEST} WHERE seq = NEW.seq; END;
CREATE TEMP TRIGGER digest_changed AFTER UPDATE OF {_DIGESTED} ON main.jobs
BEGIN {_SET_DIGEST} WHERE seq = NEW.seq; END;
"""


def row_digest(*values: Any) -> str:
    """Return the digest of a row: of `seq` and COLUMNS, in this order."""
    return hashlib.blake2b(
        repr(values).encode("utf-8", "surrogatepass"), digest_size=16
    ).hexdigest()


def has_digests(db: sqlite3.Connection) -> bool:
    """Return whether the rows have digests; those of version 1 have none."""
    columns = [name for _, name, *_ in db.execute("PRAGMA table_info(jobs)")]
    return not columns or "digest" in columns


def prepare(db: sqlite3.Connection) -> None:
    """Make the table of a queue that was checked, or add the digests; begin to keep them."""
    db.create_function("row_digest", -1, row_digest, deterministic=True)
    if not has_digests(db):
        db.execute("BEGIN IMMEDIATE")
        db.execute("ALTER TABLE jobs ADD COLUMN digest TEXT")
        db.execute(_SET_DIGEST)
        db.execute("COMMIT")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.executescript(_TRIGGERS)


# Expressions of a job's data; text that SQLite does not take for JSON has none.
WORKFLOW_ID = (
    "CASE WHEN json_valid(extra) THEN json_extract(extra, '$.extra_pnginfo.workflow.id') END"
)
_TIMES = "FROM json_each(record, '$.status.messages') WHERE json_extract(value, '$[1].timestamp')"
DURATION = (
    "CASE WHEN json_valid(record) THEN coalesce("
    f"(SELECT max(json_extract(value, '$[1].timestamp')) {_TIMES}) - "
    f"(SELECT json_extract(value, '$[1].timestamp') {_TIMES} "
    "AND json_extract(value, '$[0]') = 'execution_start'), 0) ELSE 0 END"
)
