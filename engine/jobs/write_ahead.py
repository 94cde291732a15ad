"""The write-ahead log of the queue: changes in it that SQLite passes over without a word.

SQLite reads the log up to its first damaged byte, and overwrites the rest at the next change.
Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
# The checksums cover these bytes of the headers, and the page of a frame.
CHECKED_HEADER_BYTES, CHECKED_FRAME_BYTES = 24, 8


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """A page in the log."""

    is_commit: bool
    salts: tuple[int, int]
    checked: bytes
    checksum: bytes


def count_lost(db: sqlite3.Connection, path: Path) -> int:
    """Return how many changes the log of an open queue has beyond those that SQLite reads.

    One whose writing a crash interrupted is not counted, unless it ends in a part of a page.
    """
    (_, read, _) = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    log = log_of(path)
    if read < 0 or not log.exists():
        return 0
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    with log.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return 0
        magic, *_, first, second = struct.unpack(">6I", header[:CHECKED_HEADER_BYTES])
        order = ">" if magic & 1 else "<"
        checksum = _checksum(bytes(8), header[:CHECKED_HEADER_BYTES], order)
        is_header_sound = checksum == header[CHECKED_HEADER_BYTES:]
        if read:
            stream.seek(HEADER_BYTES + (read - 1) * (FRAME_HEADER_BYTES + page_bytes))
            checksum = next(
                _frames(stream.read(FRAME_HEADER_BYTES + page_bytes), page_bytes)
            ).checksum
        rest = [
            frame
            for frame in _frames(stream.read(), page_bytes)
            # Frames of an older log have other salts.
            if not is_header_sound or first == frame.salts[0] or second == frame.salts[1]
        ]
    lost = sum(frame.is_commit for frame in rest)
    if lost or not rest:
        return lost
    return int(rest[0].checksum != _checksum(checksum, rest[0].checked, order))


def copy_aside(db: sqlite3.Connection, path: Path, target: Path) -> None:
    """Copy an open queue and its log. Opening the file itself would end SQLite's locks on it."""
    with closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
    shutil.copyfile(log_of(path), log_of(target))


def describe_log(path: Path, aside: Path, lost: int) -> str:
    """Return the sentence that tells what was lost in the log."""
    changes = "1 change" if lost == 1 else f"{lost} changes"
    return (
        f"{path}: expected a sound log, got a damaged one; the last {changes} to the queue cannot "
        f"be read, and jobs may be lost. A copy of the queue and its log is stored as {aside.name}"
    )


def log_of(path: Path) -> Path:
    """Return the path of the log of a queue."""
    return path.with_name(f"{path.name}-wal")


def _frames(data: bytes, page_bytes: int) -> Iterator[_Frame]:
    step = FRAME_HEADER_BYTES + page_bytes
    for start in range(0, len(data) - FRAME_HEADER_BYTES + 1, step):
        frame = data[start : start + step]
        _, pages_after, first, second = struct.unpack(">4I", frame[:16])
        yield _Frame(
            is_commit=pages_after > 0,
            salts=(first, second),
            checked=frame[:CHECKED_FRAME_BYTES] + frame[FRAME_HEADER_BYTES:],
            checksum=frame[16:FRAME_HEADER_BYTES],
        )


def _checksum(before: bytes, data: bytes, order: str) -> bytes:
    """Return the running checksum of the log after further data."""
    first, second = struct.unpack(">2I", before)
    words = struct.unpack(f"{order}{len(data) // 8 * 2}I", data[: len(data) // 8 * 8])
    for low, high in zip(words[::2], words[1::2], strict=True):
        first = (first + low + second) & 0xFFFFFFFF
        second = (second + high + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second)
