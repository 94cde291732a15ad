"""Fills large arrays with many processes.

Every row depends on its number alone, so that the same bytes come out of one process and of
sixteen, in whatever order they finish.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from multiprocessing.pool import AsyncResult, Pool
    from pathlib import Path

    from numpy.typing import NDArray

# The rows from a first number up to, not including, a last one. Workers import it by name.
Job = Callable[[int, int], "NDArray[Any]"]
# So many rows are one task; an array of fewer tasks than workers is filled in this process.
ROWS = 64


@dataclass(frozen=True)
class Table:
    """An array in a file: where, what its rows are, and how many."""

    path: Path
    job: Job
    count: int
    shape: tuple[int, ...]
    dtype: str = "uint8"

    @property
    def partial(self) -> Path:
        """The file while some of its rows are missing."""
        return self.path.with_suffix(".partial.npy")


@dataclass
class Crew:
    """Worker processes, started when there is something to do for them.

    With one worker everything is done in this process.
    """

    workers: int = 1
    tasks: dict[Path, list[AsyncResult[None]]] = field(default_factory=dict)
    pool: Pool | None = None

    def start(self, table: Table, rows: int | None = None) -> None:
        """Fill a table in the background; what is long done or small is left to `load`.

        Args:
            table: what to fill; what was started first is drawn first.
            rows: leave what comes after so many rows to the next call; all if None.
        """
        few = self.workers < 2 or table.count <= ROWS * self.workers
        if few or table.path.exists():
            return
        if table.path not in self.tasks:
            _create(table)
        pool, tasks = self._workers(), self.tasks.setdefault(table.path, [])
        for first, last in _spans(table.count)[len(tasks) :]:
            if rows is not None and first >= rows:
                break
            tasks.append(pool.apply_async(_fill, (table.partial, table.job, first, last)))

    def load(
        self, table: Table, needed: int | None = None, until: float | None = None
    ) -> NDArray[Any]:
        """The rows of a table, filled now if they are not yet.

        Args:
            table: what to load.
            needed: return as soon as the first so many are there; all if None.
            until: from this time on (`time.monotonic`) return those that are there: fewer.
        """
        needed = table.count if needed is None else min(needed, table.count)
        self.start(table)
        if table.path in self.tasks:
            ready = self._wait(table, needed, until)
            if ready < table.count:
                partial: NDArray[Any] = np.load(table.partial, mmap_mode="r")
                return partial[: min(ready, needed)]
            del self.tasks[table.path]
            table.partial.replace(table.path)
        elif not table.path.exists():
            _create(table)
            for first, last in _spans(table.count):
                _fill(table.partial, table.job, first, last)
            table.partial.replace(table.path)
        rows: NDArray[Any] = np.load(table.path, mmap_mode="r")
        return rows[:needed]

    def close(self) -> None:
        """End the workers."""
        if self.pool:
            self.pool.terminate()
            self.pool.join()
            self.pool = None

    def _workers(self) -> Pool:
        if not self.pool:
            context = multiprocessing.get_context("spawn")
            self.pool = context.Pool(self.workers, initializer=_prepare)
        return self.pool

    def _wait(self, table: Table, needed: int, until: float | None) -> int:
        """Wait for the first rows; return how many are there without a gap."""
        ready = 0
        for task, (_, last) in zip(self.tasks[table.path], _spans(table.count), strict=True):
            if ready >= needed and not task.ready():
                break
            task.wait(None if until is None else max(0.0, until - time.monotonic()))
            if not task.ready():
                break
            task.get()
            ready = last
        return ready


def _spans(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + ROWS, count)) for first in range(0, count, ROWS)]


def _create(table: Table) -> None:
    table.path.parent.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(
        table.partial, mode="w+", dtype=np.dtype(table.dtype), shape=(table.count, *table.shape)
    )


def _prepare() -> None:
    """Let every worker use one core."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _fill(path: Path, job: Job, first: int, last: int) -> None:
    rows = np.load(path, mmap_mode="r+")
    rows[first:last] = job(first, last)
