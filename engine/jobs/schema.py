"""The table of the queue, and SQL for what its JSON columns hold."""

from __future__ import annotations

VERSION = 1
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
    record TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number, seq);
"""

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
