"""Recovery of a damaged queue file: its check, the rows that can be read, and its storage aside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from .schema import COLUMNS, has_digests, row_digest

MAX_NAMED, MAX_ID_CHARS = 20, 80
STATES = ("pending", "running", "completed", "failed", "cancelled")
DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_READONLY,
    }
)

_UNDIGESTED = 1 + len(COLUMNS.split(","))

# Messages about a damaged schema contain its names, which may not be UTF-8.
READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)


@dataclass(frozen=True, kw_only=True)
class Salvage:
    """Rows read from a damaged queue file, and names of those that were not.

    Attributes:
        rows: the readable rows of the table of jobs, `seq` first.
        lost: ids of the jobs that were listed and could not be read; "?" for an unreadable id.
        is_complete: False if there may be further jobs that are not listed.
    """

    rows: tuple[tuple[Any, ...], ...] = ()
    lost: tuple[str, ...] = ()
    is_complete: bool = False


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error comes from the content of the file, not from its use or the disk."""
    if isinstance(error, sqlite3.NotSupportedError):
        return False
    # Text that is not UTF-8 has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in DAMAGE_CODES


def is_sound(db: sqlite3.Connection) -> bool:
    """Return whether the pages, the index and every job of an open queue can be read.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        return False
    # An open cursor would keep the file locked after the connection is closed.
    with closing(db.execute(f"SELECT {_row_columns(db)} FROM jobs")) as rows:
        return all(is_readable(row) for row in rows)


def _row_columns(db: sqlite3.Connection) -> str:
    return f"seq, {COLUMNS}, digest" if has_digests(db) else f"seq, {COLUMNS}"


def is_readable(row: tuple[Any, ...]) -> bool:
    """Return whether a row is a job as it was written.

    Args:
        row: `seq`, COLUMNS and the digest; without it, as in version 1, the state must be known
            and the JSON complete.
    """
    *values, digest = row
    if len(row) == _UNDIGESTED:
        values = list(row)
    elif digest != row_digest(*values):
        return False
    _, id, number, state, attempts, created, prompt, extra, targets, client, record = values
    if state not in STATES or not isinstance(id, str) or not isinstance(client, str | None):
        return False
    if not all(isinstance(value, int | float) for value in (number, attempts, created)):
        return False
    return (
        _is_json(prompt, dict)
        and _is_json(extra, dict)
        and _is_json(targets, list)
        and (record is None or _is_json(record, dict))
    )


def _is_json(text: object, kind: type) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def salvage(path: Path) -> Salvage:
    """Read every job that a damaged queue file still gives, row by row."""
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=0, uri=True)
    except READ_ERRORS:
        return Salvage()
    try:
        upward, is_complete = _sequence(db, "ASC")
        # A broken page ends the scan; what lies behind it is reached from the other end.
        downward, _ = ((), True) if is_complete else _sequence(db, "DESC")
        listed = sorted({*upward, *downward})
        rows = {seq: row[:_UNDIGESTED] for seq in listed for row in _row(db, seq)}
        lost = tuple(_id(db, seq) for seq in listed if seq not in rows)
    finally:
        db.close()
    return Salvage(rows=tuple(rows.values()), lost=lost, is_complete=is_complete)


def _sequence(db: sqlite3.Connection, order: str) -> tuple[tuple[int, ...], bool]:
    numbers: list[int] = []
    try:
        is_whole = db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
        with closing(db.execute(f"SELECT seq FROM jobs NOT INDEXED ORDER BY seq {order}")) as rows:
            for (seq,) in rows:
                numbers.append(seq)
    except READ_ERRORS:
        return tuple(numbers), False
    return tuple(numbers), is_whole


def _row(db: sqlite3.Connection, seq: int) -> Iterable[tuple[Any, ...]]:
    try:
        columns = _row_columns(db)
        row = db.execute(f"SELECT {columns} FROM jobs WHERE seq = ?", (seq,)).fetchone()
    except READ_ERRORS:
        return ()
    return (row,) if row is not None and is_readable(row) else ()


def _id(db: sqlite3.Connection, seq: int) -> str:
    try:
        (id,) = db.execute("SELECT id FROM jobs WHERE seq = ?", (seq,)).fetchone() or ("?",)
    except READ_ERRORS:
        return "?"
    return repr(id)[:MAX_ID_CHARS]


def free_name(path: Path) -> Path:
    """Return the path for the next copy of a damaged queue file."""
    targets = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    return next(target for target in targets if not target.exists())


def set_aside(path: Path) -> Path:
    """Rename a queue file, and its log if there is one, and return the new path."""
    target = free_name(path)
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    return target


def restore(db: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert rows into an empty queue, and return how many were refused, such as a second id."""
    refused = 0
    for row in rows:
        cursor = db.execute(
            f"INSERT OR IGNORE INTO jobs (seq, {COLUMNS}) VALUES ({', '.join('?' * len(row))})", row
        )
        refused += cursor.rowcount == 0
    return refused


def describe(path: Path, aside: Path, salvage: Salvage, refused: int) -> str:
    """Return the sentence that tells what was read from a damaged file and what was lost."""
    lost = len(salvage.lost) + refused
    count = f"{lost} lost" if salvage.is_complete else f"{lost} lost, perhaps others"
    if salvage.lost:
        more = ", ..." if len(salvage.lost) > MAX_NAMED else ""
        count += f" ({', '.join(salvage.lost[:MAX_NAMED])}{more})"
    return (
        f"{path}: expected a sound queue, got a damaged file; {len(salvage.rows) - refused} jobs "
        f"were recovered, {count}. The damaged file is stored as {aside.name}"
    )
