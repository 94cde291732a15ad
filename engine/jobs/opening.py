"""Opening the file of the queue: its lock, its check, and what is made of a damaged one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .damage import describe, free_name, is_damage, is_sound, restore, salvage, set_aside
from .schema import COLUMNS, LAST_PLAUSIBLE_VERSION, SCHEMA, VERSION, prepare
from .write_ahead import copy_aside, count_lost, describe_log, log_of


def open_queue(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """Open a queue, or a new one, and return it with what was lost, None if nothing was.

    A damaged file is set aside, and what can be read of it is in the new one.

    Raises:
        sqlite3.Error: the file is in use, or cannot be opened.
    """
    was_emptied = path.exists() and path.stat().st_size == 0
    try:
        if was_emptied and log_of(path).exists():
            # SQLite would delete the log, which may hold jobs.
            raise sqlite3.DatabaseError("it is empty")
        db, damage = _connect(path)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return _rebuild(path)
    if was_emptied and damage is None:
        damage = f"{path}: expected a queue, got an empty file; any jobs in it were lost"
    return db, damage


def _connect(path: Path) -> tuple[sqlite3.Connection, str | None]:
    """Open a sound queue, or a new one, and return it with what was lost in its log.

    Raises:
        sqlite3.Error: the file is damaged, in use, or cannot be opened.
    """
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # Held until the process ends, however it ends: a second server is refused.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
        damage = _check_log(db, path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > LAST_PLAUSIBLE_VERSION:
            raise sqlite3.DatabaseError("its version is damaged")
        if version > VERSION:
            raise sqlite3.NotSupportedError("it was written by a newer version of Latentloom")
        if version == VERSION:
            db.execute(f"SELECT {COLUMNS}, digest FROM jobs LIMIT 1").fetchone()
        db.executescript(SCHEMA)
        if not is_sound(db):
            raise sqlite3.DatabaseError("its content is damaged")
        prepare(db)
    except UnicodeDecodeError as error:
        # The names of a damaged schema are decoded for the message.
        db.close()
        raise sqlite3.DatabaseError("its schema is damaged") from error
    except BaseException:
        db.close()
        raise
    return db, damage


def _check_log(db: sqlite3.Connection, path: Path) -> str | None:
    """Copy an open queue whose log is damaged, before the next change overwrites it."""
    lost = count_lost(db, path)
    if not lost:
        return None
    aside = free_name(path)
    copy_aside(db, path, aside)
    return describe_log(path, aside, lost)


def _rebuild(path: Path) -> tuple[sqlite3.Connection, str]:
    """Set a damaged file aside and open a new one with the jobs that can be read."""
    aside = set_aside(path)
    readable = salvage(aside)
    db, _ = _connect(path)
    db.execute("BEGIN IMMEDIATE")
    refused = restore(db, readable.rows)
    db.execute("COMMIT")
    return db, describe(path, aside, readable, refused)
