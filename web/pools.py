"""Threads for the work of requests, by kind, so that slow work of one kind stops no other.

Decoding images or reading large graphs can take seconds; the queue must answer meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
IMAGES_AT_ONCE = 2
GRAPHS_AT_ONCE = 2
QUEUE_CALLS_AT_ONCE = 2
FILES_AT_ONCE = 8
LARGE_BODIES_AT_ONCE = 4


class ClosedPoolError(RuntimeError):
    """The server stops; no new work is begun."""


class Pool(ThreadPoolExecutor):
    """A thread pool that knows how many of its calls have not ended."""

    def __init__(self, name: str, threads: int) -> None:
        super().__init__(threads, f"latentloom-{name}")
        self._lock = threading.Lock()
        self._unfinished = 0

    @property
    def is_busy(self) -> bool:
        """Return True while a call waits or runs."""
        return self._unfinished > 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call as soon as a thread is free."""
        with self._lock:
            self._unfinished += 1
        try:
            future = super().submit(fn, *args, **kwargs)
        except RuntimeError as error:
            self._end()
            raise ClosedPoolError("the server is stopping") from error
        future.add_done_callback(lambda _future: self._end())
        return future

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return the result of a call in this pool."""
        return await asyncio.wrap_future(self.submit(partial(work, *args, **options)))

    def _end(self) -> None:
        with self._lock:
            self._unfinished -= 1


class Pools:
    """The pools of one server.

    Attributes:
        images: reads and decodes images.
        graphs: parses bodies and checks graphs.
        queue: reads and writes the queue.
        files: everything else; the event loop's default.
        large_bodies: how many large bodies may be in memory before they are parsed.
    """

    def __init__(self) -> None:
        self.images = Pool("images", IMAGES_AT_ONCE)
        self.graphs = Pool("graphs", GRAPHS_AT_ONCE)
        self.queue = Pool("queue", QUEUE_CALLS_AT_ONCE)
        self.files = Pool("files", FILES_AT_ONCE)
        self.large_bodies = asyncio.Semaphore(LARGE_BODIES_AT_ONCE)

    @property
    def is_busy(self) -> bool:
        """Return True while a call of any pool waits or runs."""
        return any(pool.is_busy for pool in self._all())

    def close(self) -> None:
        """Drop the calls that wait; those that run are not waited for."""
        for pool in self._all():
            pool.shutdown(wait=False, cancel_futures=True)

    def _all(self) -> tuple[Pool, ...]:
        return self.images, self.graphs, self.queue, self.files
