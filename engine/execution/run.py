"""One run of a graph: what is ready is started, what is done releases what waits for it.

The thread that called `run` decides everything and emits every event; nodes are called in it only
when nothing could overlap. Device nodes go to the engine's one device thread, CPU nodes to its
pool. Each node and each link is looked at once, so a run is linear in both.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from ..cache.memory import Entry
from ..cache.tiers import Tier, usable
from ..errors import LatentloomError, NodeError, RunCancelledError
from ..node.cancel import CancelToken
from ..node.context import Context
from .call import Outcome, call, needed, saved_in, text_in
from .events import (
    AnyEvent,
    Failed,
    Finished,
    OnEvent,
    Preview,
    Progress,
    Reused,
    Started,
    Status,
    Stopped,
)
from .job import House, Job
from .plan import Task, demand, make_key
from .reasons import (
    AskedFor,
    CallShared,
    InputsUnchanged,
    StoredEntryCorrupt,
    Unchanged,
    UpstreamFailed,
)


class Run:
    """Executes tasks once; see `engine.execution.executor.Engine.run`."""

    def __init__(
        self,
        house: House,
        tasks: dict[str, Task],
        targets: Iterable[str],
        context: Callable[[str], Context],
        on_event: OnEvent | None,
        cancel: CancelToken,
    ) -> None:
        self.house, self.tasks, self.cancel = house, tasks, cancel
        self.make_context, self.on_event = context, on_event
        self.jobs: dict[str, Job] = {}
        self.kept = set(targets) | _lazy_origins(tasks)
        self.ready: deque[Job] = deque()
        self.inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.calling = 0
        self.following = 0
        self.model_calls = 0
        self.errors: list[LatentloomError] = []
        self.consumer_error: Exception | None = None
        self.owner = threading.get_ident()

    def execute(self) -> Status:
        """Run until nothing is left; returns how it ended.

        Raises:
            Exception: whatever the consumer of events raised; the run was cancelled for it.
        """
        unwatch = self.cancel.watch(lambda: self.inbox.put(_wake))
        try:
            self._start([task for task in self.tasks.values() if task.action != "skip"])
            self._loop()
        except BaseException:
            self.cancel.cancel()
            self._loop()
            raise
        finally:
            unwatch()
        if self.consumer_error is not None:
            raise self.consumer_error
        for id, task in self.tasks.items():
            if id not in self.jobs:
                self.house.history.pass_by(task.trace)
        if any(job.state == "cancelled" for job in self.jobs.values()):
            return "cancelled"
        return "failed" if self.errors else "done"

    def _loop(self) -> None:
        while self.ready or self.calling or self.following:
            while self.ready and not self.cancel.is_set():
                self._dispatch(self.ready.popleft())
            if self.cancel.is_set():
                self._abandon()
            if self.calling or self.following:
                self.inbox.get()()

    # Starting

    def _start(self, tasks: Iterable[Task]) -> None:
        """Take tasks that are needed from now on: reuse what is kept, queue what can run."""
        jobs = [Job(task, why=task.why) for task in self._read(tasks)]
        self.jobs.update((job.id, job) for job in jobs)
        for job in jobs:
            if job.task.action == "run":
                self._wire(job, job.task.links)
        for job in jobs:
            if job.task.action == "reuse":
                assert job.task.entry is not None
                self.house.tiers.memory.touch(job.task.key)
                self._reuse(job, job.task.entry, "memory" if job.task.on_disk is None else "disk")
            elif job.waiting == 0 and job.state == "waiting":
                self._queue(job)

    def _read(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks with their entries off the disk; what was damaged runs, and what it needs."""
        found: list[Task] = []
        waiting = deque(tasks)
        while waiting:
            task = waiting.popleft()
            if task.action == "reuse" and task.entry is None:
                assert task.on_disk is not None
                task.entry = self.house.tiers.read(task.on_disk, task.key, task.node.spec)
                if task.entry is None:
                    task.on_disk, task.action = None, "skip"
                    again = demand(self.tasks, [task.node.id])
                    for each in again:
                        each.why = StoredEntryCorrupt() if each is task else each.why
                    waiting.extend(again)
                    continue
            found.append(task)
        return found

    def _wire(self, job: Job, links: Iterable[tuple[str, str, int]]) -> None:
        """Let a job wait for the origins of these links."""
        for _, origin, _ in links:
            source = self.jobs[origin]
            source.readers += 1
            job.origins.append(source)
            if source.entry is None:
                source.consumers.append(job)
                job.waiting += 1

    def _queue(self, job: Job) -> None:
        job.state = "ready"
        self.ready.append(job)

    def _dispatch(self, job: Job) -> None:
        """Start a job whose inputs are there, unless its outputs turn out to be known."""
        if self._ask_lazily(job):
            return
        job.trace = self._trace(job)
        tiers, key = self.house.tiers, job.task.key
        tier = tiers.fetch(job.trace, key, job.task.node.spec)
        with self.house.lock:
            flight = self.house.flights.get(job.trace)
            if flight is None:
                entry = usable(tiers.memory.by_input_key(job.trace, key))
                if entry is None:
                    self.house.flights[job.trace] = Future()
        if flight is not None:
            job.state = "following"
            self.following += 1
            flight.add_done_callback(lambda done: self.inbox.put(lambda: self._follow(job, done)))
        elif entry is not None:
            job.why = InputsUnchanged(job.why)
            self._reuse(job, entry, tier)
        else:
            job.state = "running"
            self._call(job)

    def _call(self, job: Job) -> None:
        """Call a job's node: in a lane, or here where nothing could overlap with it."""
        self.calling += 1
        try:
            node, linked, context = job.task.node, self._linked(job), self._context(job)

            def work() -> Outcome:
                if self.cancel.is_set():
                    return Outcome(
                        0.0, error=RunCancelledError(f"cancelled before node {job.id} ran")
                    )
                self._send(Started(job.id, node.spec.name, job.why))
                return call(
                    node,
                    linked,
                    context,
                    digest=job.readers > 0,
                    fingerprinter=self.house.fingerprinter,
                    sharing=self.house.sharing,
                )

            if node.spec.device or self.ready or self.calling > 1 or self.following:
                lane = self.house.lane(node.spec.device)
                lane.submit(lambda: self._post(job, work()))
                return
            outcome = work()
        except BaseException:
            self._land(job, Outcome(0.0, error=RunCancelledError("interrupted")))
            raise
        self._land(job, outcome)

    def _post(self, job: Job, outcome: Outcome) -> None:
        self.inbox.put(lambda: self._land(job, outcome))

    def _ask_lazily(self, job: Job) -> bool:
        """Whether a job asked for lazy inputs that are not there yet, and now waits for them."""
        if job.task.node.spec.needs is None:
            return False
        try:
            names = needed(job.task.node, self._linked(job))
        except Exception as error:  # noqa: BLE001 - a node's own method, named like its run
            failure = NodeError(job.id, job.task.node.spec.name, {}, error)
            failure.__cause__ = error
            self._fail(job, failure)
            return True
        if not names:
            return False
        links = [(name, *job.task.node.links[name]) for name in names]
        job.asked.extend(names)
        job.state = "waiting"
        fresh = demand(self.tasks, [origin for _, origin, _ in links])
        for task in fresh:
            task.why = Unchanged() if task.action == "reuse" else AskedFor(job.id)
        self._start(fresh)
        self._wire(job, links)
        for _, origin, _ in links:
            if self.jobs[origin].state in ("failed", "blocked"):
                self._block_consumers(self.jobs[origin])
        if job.waiting == 0 and job.state == "waiting":
            self._queue(job)
        return True

    # Ending

    def _land(self, job: Job, outcome: Outcome) -> None:
        """A call of ours came back."""
        self.calling -= 1
        self.model_calls += outcome.model_calls
        job.seconds = outcome.seconds
        if outcome.entry is not None:
            spec = job.task.node.spec
            self.house.tiers.keep(job.trace, job.task.key, spec, outcome.entry, outcome.seconds)
        with self.house.lock:
            flight = self.house.flights.pop(job.trace)
        flight.set_result(outcome)
        self._settle(job, outcome)

    def _follow(self, job: Job, flight: Future[Outcome]) -> None:
        """The same call, made for another node or in another run, came back."""
        if job.state != "following":
            return
        self.following -= 1
        outcome = flight.result()
        if outcome.entry is not None:
            job.why = CallShared(job.why)
            self.house.tiers.memory.by_input_key(job.trace, job.task.key)
            self._reuse(job, outcome.entry, "memory")
        elif isinstance(outcome.error, RunCancelledError) and not self.cancel.is_set():
            self._queue(job)
        else:
            self._settle(job, outcome)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if outcome.entry is not None:
            job.state, job.entry, job.saved = "ran", outcome.entry, saved_in(outcome.entry)
            self._emit(Finished(job.id, outcome.seconds, job.saved, text_in(job.entry)))
            self._release(job)
        elif isinstance(outcome.error, RunCancelledError):
            job.state = "cancelled"
            self._emit(Stopped(job.id))
            self.cancel.cancel()
        elif outcome.error is not None:
            self._fail(job, outcome.error)

    def _reuse(self, job: Job, entry: Entry, tier: Tier) -> None:
        job.state, job.entry, job.tier = "reused", entry, tier
        job.saved = saved_in(entry)
        self._emit(Reused(job.id, tier, job.why, job.saved, text_in(entry)))
        self._release(job)

    def _release(self, job: Job) -> None:
        """A job has its outputs: let go what waited for it, and what only it still read."""
        self.house.history.record(job.task.trace, job.seconds)
        for consumer in job.consumers:
            consumer.waiting -= 1
            if consumer.waiting == 0 and consumer.state == "waiting":
                self._queue(consumer)
        job.consumers.clear()
        self._forget_origins(job)

    def _forget_origins(self, job: Job) -> None:
        for source in job.origins:
            source.readers -= 1
            if source.readers == 0 and source.id not in self.kept:
                source.entry = None
        job.origins.clear()

    def _fail(self, job: Job, error: LatentloomError) -> None:
        """A job failed: what depends on it is skipped, all else goes on."""
        job.state = "failed"
        self.errors.append(error)
        self._emit(Failed(job.id, error))
        self._forget_origins(job)
        self._block_consumers(job)

    def _block_consumers(self, job: Job) -> None:
        """Skip all that waits for a job which will give nothing."""
        waiting = [(consumer, job) for consumer in job.consumers]
        while waiting:
            consumer, source = waiting.pop()
            if consumer.state == "waiting":
                consumer.state, consumer.why = "blocked", UpstreamFailed(source.id)
                self._forget_origins(consumer)
                waiting.extend((below, consumer) for below in consumer.consumers)

    def _abandon(self) -> None:
        """Cancelled: nothing more is started, and nobody else's work is waited for."""
        self.ready.clear()
        self.following = 0
        for job in self.jobs.values():
            if job.state in ("waiting", "ready", "following"):
                job.state = "cancelled"

    # Inputs and events

    def _used_links(self, job: Job) -> Iterable[tuple[str, str, int]]:
        yield from job.task.links
        for name in job.asked:
            yield (name, *job.task.node.links[name])

    def _linked(self, job: Job) -> dict[str, Any]:
        found = {}
        for name, origin, output in self._used_links(job):
            entry = self.jobs[origin].entry
            assert entry is not None
            found[name] = entry.outputs[output]
        return found

    def _trace(self, job: Job) -> str:
        """The key over what really came in: digests of values instead of keys of nodes."""
        upstream: dict[str, tuple[str, int]] = {}
        for name, origin, output in self._used_links(job):
            source = self.jobs[origin]
            assert source.entry is not None
            digest = source.entry.digest(output)
            upstream[name] = (source.task.key, output) if digest is None else (digest, -1)
        node = job.task.node
        files, fingerprinter = job.task.trace.files, self.house.fingerprinter
        return make_key(node, files, upstream, fingerprinter, job.task.place)

    def _context(self, job: Job) -> Context:
        context = self.make_context(job.id)
        if job.task.node.spec.hidden is not None:
            context.cancelled = self.cancel.is_set
            context.on_progress = self._reporter(job.id)
        return context

    def _reporter(self, id: str) -> Callable[[int, int, object | None], None]:
        def report(step: int, total: int, preview: object | None) -> None:
            self._send(Progress(id, step, total))
            if preview is not None:
                self._send(Preview(id, preview))

        return report

    def _send(self, event: AnyEvent) -> None:
        """Emit from any thread; events of other threads arrive through the inbox."""
        if threading.get_ident() == self.owner:
            self._emit(event)
        else:
            self.inbox.put(lambda: self._emit(event))

    def _emit(self, event: AnyEvent) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception as error:  # noqa: BLE001 - kept, and raised when the run has ended
            self.consumer_error, self.on_event = error, None
            self.cancel.cancel()


def _lazy_origins(tasks: Mapping[str, Task]) -> set[str]:
    """Nodes that a lazy input may ask for late; their outputs stay until the run is over."""
    return {
        task.node.links[port.name].node
        for task in tasks.values()
        if task.node.spec.needs is not None
        for port in task.node.spec.inputs
        if port.lazy and port.name in task.node.links
    }


def _wake() -> None:
    """What a cancel puts into the inbox: only the waking counts."""
