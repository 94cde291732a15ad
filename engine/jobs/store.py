"""The durable queue in SQLite: jobs that wait, the one that runs, and those that ended.

An accepted job survives a crash at any instant: every change is one transaction in a write-ahead
log, synced to disk before the call returns. A job that was running when the process died is run
again. After a second crash it fails with that reason.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import LatentloomError
from .opening import open_queue
from .schema import COLUMNS, DURATION, WORKFLOW_ID

State = Literal["pending", "running", "completed", "failed", "cancelled"]
ENDED = ("completed", "failed", "cancelled")
MAX_ENDED, PRUNE_EVERY = 10_000, 100
MAX_QUEUE_BYTES = 2**32
"""Of jobs in the file: beyond it the oldest that ended go, and no further one is accepted."""
MAX_READ_BYTES = 64 * 2**20
"""Of jobs that are read at once."""
MAX_ATTEMPTS = 2
PARKED = (
    "the server crashed twice while it ran this job, so it is not tried again; "
    "to try it again: POST /api/jobs/ID/retry"
)


class QueueError(LatentloomError):
    """The queue cannot be used: another server has it open, or its file is damaged."""


class QueueFullError(LatentloomError):
    """The queue holds as many jobs as it may."""


class DuplicateError(LatentloomError):
    """There is already a job with this id."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as it was submitted, its state and its outcome.

    Attributes:
        prompt: the graph, in ComfyUI's API format.
        targets: ids of the output nodes to run.
        number: priority; the lowest number runs first.
        extra: further data of the request, such as the editor's workflow.
        client: id of the client that receives progress messages.
        created: time of acceptance, in ms since 1970.
        attempts: how often it was started.
        record: the outcome; empty until the job ends.
    """

    id: str
    prompt: Mapping[str, Any]
    targets: tuple[str, ...]
    number: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    client: str | None = None
    created: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    state: State = "pending"
    attempts: int = 0
    record: Mapping[str, Any] = field(default_factory=dict)


class JobStore:
    """The queue in one file, open in one process at a time and usable from all its threads.

    Attributes:
        parked: ids of the jobs that failed at opening, since the server crashed twice in them.
        damage: what was recovered from a damaged file and what was lost; None for a sound file.

    Raises:
        QueueError: another process has the file open, or it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._finished = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db, self.damage = open_queue(path)
            self.parked = self._recover()
        except (sqlite3.Error, OSError) as error:
            raise _refusal(path, error) from error

    def _recover(self) -> tuple[str, ...]:
        """Put running jobs back into the queue; fail those that crashed twice, and return them."""
        with self._lock, self._transaction():
            rows = self._db.execute(
                "SELECT id FROM jobs WHERE state = 'running' AND attempts >= ?", (MAX_ATTEMPTS,)
            ).fetchall()
            record = json.dumps({"parked": PARKED})
            self._db.execute(
                "UPDATE jobs SET state = 'failed', record = ? "
                "WHERE state = 'running' AND attempts >= ?",
                (record, MAX_ATTEMPTS),
            )
            self._db.execute("UPDATE jobs SET state = 'pending' WHERE state = 'running'")
        return tuple(id for (id,) in rows)

    # Pending and running

    def submit(self, job: QueuedJob) -> None:
        """Accept a job. When this returns, the job is on disk.

        Raises:
            DuplicateError: there is a job with this id.
            QueueFullError: jobs that have not ended take MAX_QUEUE_BYTES.
        """
        values = (
            job.id, job.number, job.created, _text(job.prompt), _text(job.extra),
            _text(list(job.targets)), job.client,
        )  # fmt: skip
        try:
            with self._lock, self._transaction():
                self._make_room()
                self._db.execute(
                    "INSERT INTO jobs (id, number, state, created, prompt, extra, targets, client)"
                    " VALUES (?, ?, 'pending', ?, ?, ?, ?, ?)",
                    values,
                )
        except sqlite3.IntegrityError as error:
            raise DuplicateError(f"there is already a job {job.id!r}") from error

    def take(self) -> QueuedJob | None:
        """Take the next job and mark it as running; return None if none waits."""
        with self._lock, self._transaction():
            row = self._db.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1 WHERE seq = "
                "(SELECT seq FROM jobs WHERE state = 'pending' ORDER BY number, seq LIMIT 1) "
                f"RETURNING {COLUMNS}"
            ).fetchone()
        return _job(row) if row else None

    def release(self, id: str) -> None:
        """Put a running job back, as if it had not been taken, for an orderly shutdown."""
        with self._lock, self._transaction():
            self._db.execute(
                "UPDATE jobs SET state = 'pending', attempts = attempts - 1 "
                "WHERE id = ? AND state = 'running'",
                (id,),
            )

    def finish(self, id: str, state: State, record: Mapping[str, Any]) -> bool:
        """Record how a job ended; return False, and do nothing, if it had ended already."""
        with self._lock, self._transaction():
            cursor = self._db.execute(
                "UPDATE jobs SET state = ?, record = ? "
                "WHERE id = ? AND state IN ('pending', 'running')",
                (state, _text(record), id),
            )
            self._finished += 1
            if self._finished % PRUNE_EVERY == 0:
                self._prune()
        return cursor.rowcount > 0

    def cancel(self, id: str, record: Mapping[str, Any]) -> bool:
        """Cancel a job that waits; return False if it does not wait."""
        with self._lock, self._transaction():
            cursor = self._db.execute(
                "UPDATE jobs SET state = 'cancelled', record = ? WHERE id = ? AND state='pending'",
                (_text(record), id),
            )
        return cursor.rowcount > 0

    def remove_pending(self, ids: Iterable[str] | None = None) -> int:
        """Remove jobs that wait, by default all, and return how many were removed."""
        return self._remove(("pending",), ids)

    def remaining(self) -> int:
        """Return how many jobs wait or run."""
        return int(self._one("SELECT count(*) FROM jobs WHERE state IN ('pending', 'running')"))

    def queued(self, state: State) -> list[QueuedJob]:
        """Return the jobs in a state, in the order in which they run."""
        return self._select("WHERE state = ? ORDER BY number, seq", (state,))

    def last_number(self) -> int:
        """Return the sequence number of the newest job; 0 in an empty queue."""
        return int(self._one("SELECT coalesce(max(seq), 0) FROM jobs"))

    # History

    def ended(self, limit: int | None = None, offset: int | None = None) -> list[QueuedJob]:
        """Return jobs that ended, oldest first; without an offset the last ones.

        As of all lists of jobs, MAX_READ_BYTES at most; at least one job.
        """
        where = "WHERE state IN ('completed', 'failed', 'cancelled') ORDER BY seq"
        count = -1 if limit is None else limit
        if offset is None:
            return self._select(f"{where} DESC LIMIT ?", (count,))[::-1]
        return self._select(f"{where} LIMIT ? OFFSET ?", (count, offset))

    def find(self, id: str) -> QueuedJob | None:
        """Return a job in any state; None if there is none."""
        return next(iter(self._select("WHERE id = ?", (id,))), None)

    def all(self) -> list[QueuedJob]:
        """Return every job, in the order of acceptance."""
        return self._select("ORDER BY seq", ())

    def page(
        self,
        states: Sequence[State],
        limit: int,
        offset: int,
        is_descending: bool = True,
        workflow: str = "",
        by_duration: bool = False,
    ) -> tuple[list[QueuedJob], int]:
        """Return a page of the jobs in these states, and the number of all such jobs.

        Only the jobs of the page are read, without their prompts.

        Args:
            workflow: id of the editor's workflow; empty for any.
            by_duration: order by the duration of the run, not by the time of acceptance.
        """
        where = f"WHERE state IN ({', '.join('?' * len(states))})"
        values: tuple[str, ...] = tuple(states)
        if workflow:
            where, values = f"{where} AND {WORKFLOW_ID} = ?", (*values, workflow)
        direction = "DESC" if is_descending else "ASC"
        order = f"{DURATION} {direction}, seq" if by_duration else "seq"
        jobs = self._select(
            f"{where} ORDER BY {order} {direction} LIMIT ? OFFSET ?",
            (*values, limit, offset),
            columns=COLUMNS.replace("prompt", "'{}'"),
        )
        return jobs, int(self._one(f"SELECT count(*) FROM jobs {where}", values))

    def retry(self, id: str) -> bool:
        """Queue a job again that failed or was cancelled; return False if it is none of these."""
        with self._lock, self._transaction():
            cursor = self._db.execute(
                "UPDATE jobs SET state = 'pending', attempts = 0, record = NULL "
                "WHERE id = ? AND state IN ('failed', 'cancelled')",
                (id,),
            )
        return cursor.rowcount > 0

    def forget(self, ids: Iterable[str] | None = None) -> int:
        """Remove jobs that ended, by default all, and return how many were removed."""
        return self._remove(ENDED, ids)

    def close(self) -> None:
        """Close the file. No method may be called afterwards."""
        with self._lock:
            self._db.close()

    # SQL

    def _make_room(self) -> None:
        """Remove the oldest jobs that ended while all take more than MAX_QUEUE_BYTES."""
        while self._used_bytes() > MAX_QUEUE_BYTES:
            removed = self._db.execute(
                "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE state IN "
                "('completed', 'failed', 'cancelled') ORDER BY seq LIMIT ?)",
                (PRUNE_EVERY,),
            )
            if not removed.rowcount:
                raise QueueFullError(
                    f"the queue is full: its jobs take {MAX_QUEUE_BYTES / 2**30:g} GiB"
                )

    def _used_bytes(self) -> int:
        """Return the size of the pages that hold something."""
        pages, free, page_bytes = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page_bytes)

    def _prune(self) -> None:
        self._db.execute(
            "DELETE FROM jobs WHERE seq IN (SELECT seq FROM jobs WHERE state IN "
            "('completed', 'failed', 'cancelled') ORDER BY seq DESC LIMIT -1 OFFSET ?)",
            (MAX_ENDED,),
        )

    def _remove(self, states: tuple[str, ...], ids: Iterable[str] | None) -> int:
        marks = ", ".join("?" * len(states))
        with self._lock, self._transaction():
            if ids is None:
                return self._db.execute(
                    f"DELETE FROM jobs WHERE state IN ({marks})", states
                ).rowcount
            counts = [
                self._db.execute(
                    f"DELETE FROM jobs WHERE id = ? AND state IN ({marks})", (id, *states)
                ).rowcount
                for id in ids
            ]
        return sum(counts)

    def _select(
        self, rest: str, values: tuple[Any, ...], columns: str = COLUMNS
    ) -> list[QueuedJob]:
        rows: list[tuple[Any, ...]] = []
        read_bytes = 0
        with (
            self._lock,
            closing(self._db.execute(f"SELECT {columns} FROM jobs {rest}", values)) as cursor,
        ):
            for row in cursor:
                read_bytes += sum(len(value) for value in row if isinstance(value, str))
                if rows and read_bytes > MAX_READ_BYTES:
                    break
                rows.append(row)
        return [_job(row) for row in rows]

    def _one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        with self._lock:
            return self._db.execute(sql, values).fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _refusal(path: Path, error: Exception) -> QueueError:
    if "locked" in str(error):
        return QueueError(
            f"{path.parent} is in use by another server; stop it, or name another folder"
        )
    return QueueError(f"{path} cannot be read as a queue: {error}")


def _job(row: tuple[Any, ...]) -> QueuedJob:
    id, number, state, attempts, created, prompt, extra, targets, client, record = row
    return QueuedJob(
        id=id,
        prompt=json.loads(prompt),
        targets=tuple(json.loads(targets)),
        number=number,
        extra=json.loads(extra),
        client=client,
        created=created,
        state=state,
        attempts=attempts,
        record=json.loads(record) if record else {},
    )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
