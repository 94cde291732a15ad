"""Execute the tasks of one run: start what is ready, release what waits for it when it is done.

The thread that called `run` decides everything and emits every event. Nodes are called in it only
when nothing could overlap; else device nodes go to the engine's one device thread, and CPU nodes
to its pool. Each node and each link is looked at once, so a run is linear in both.
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
from .call import CallOutcome, call, needed, saved_in, text_in
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
from .keys import make_key
from .plan import UNCHANGED, demand, needed_late
from .reasons import AskedFor, CallShared, InputsUnchanged, StoredEntryCorrupt, UpstreamFailed
from .shared import Shared
from .task import LinkedInput, NodeTask


class Run:
    """One run over planned tasks; see `engine.execution.executor.Engine.run`."""

    def __init__(
        self,
        shared: Shared,
        tasks: Mapping[str, NodeTask],
        targets: Iterable[str],
        make_context: Callable[[str], Context],
        on_event: OnEvent | None,
        cancel: CancelToken,
    ) -> None:
        self.shared, self.tasks, self.cancel = shared, tasks, cancel
        self.make_context, self.on_event = make_context, on_event
        self.model_calls = 0
        self.errors: list[LatentloomError] = []
        self._retained = set(targets) | needed_late(tasks)
        self._ready: deque[NodeTask] = deque()
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._calling = 0
        self._joined = 0
        self._consumer_error: Exception | None = None
        self._owner = threading.get_ident()

    def execute(self) -> Status:
        """Run until nothing is left, and return how the run ended.

        Raises:
            Exception: whatever the consumer of events raised; the run was cancelled for it.
        """
        unwatch = self.cancel.watch(lambda: self._inbox.put(_wake))
        try:
            self._start([task for task in self.tasks.values() if task.action != "skip"])
            self._loop()
        except BaseException:
            self.cancel.cancel()
            self._loop()
            raise
        finally:
            unwatch()
        if self._consumer_error is not None:
            raise self._consumer_error
        for task in self.tasks.values():
            if task.state == "planned":
                self.shared.history.record_skipped(task.inputs)
                task.entry = None
        if any(task.state == "cancelled" for task in self.tasks.values()):
            return "cancelled"
        return "failed" if self.errors else "done"

    def _loop(self) -> None:
        while self._ready or self._calling or self._joined:
            while self._ready and not self.cancel.is_set():
                self._dispatch(self._ready.popleft())
            if self.cancel.is_set():
                self._abandon()
            if self._calling or self._joined:
                self._inbox.get()()

    # Starting

    def _start(self, tasks: Iterable[NodeTask]) -> None:
        """Take tasks that are needed from now on: reuse what is cached, queue what can run."""
        started = self._read_stored(tasks)
        for task in started:
            task.state = "waiting"
        for task in started:
            if task.action == "run":
                self._wait_for(task, task.links)
        for task in started:
            if task.action == "reuse":
                assert task.entry is not None
                assert task.tier is not None
                self.shared.tiers.memory.touch(task.key)
                self._reuse(task, task.entry, task.tier)
            elif task.waiting_for == 0 and task.state == "waiting":
                self._queue(task)

    def _read_stored(self, tasks: Iterable[NodeTask]) -> list[NodeTask]:
        """Read entries from disk. A node whose entry is corrupt runs, with all that it needs."""
        started: list[NodeTask] = []
        waiting = deque(tasks)
        while waiting:
            task = waiting.popleft()
            if task.action == "reuse" and task.entry is None:
                task.entry = self.shared.tiers.read(task.input_key, task.key, task.node.spec)
                if task.entry is None:
                    task.tier, task.action = None, "skip"
                    waiting.extend(self._demand([task.id], task))
                    task.why = StoredEntryCorrupt()
                    continue
            started.append(task)
        return started

    def _demand(self, ids: Iterable[str], asking: NodeTask) -> list[NodeTask]:
        """Mark nodes that turn out to be needed during the run; see `plan.demand`."""
        marked = demand(self.tasks, ids)
        for task in marked:
            task.why = UNCHANGED if task.action == "reuse" else AskedFor(asking.id)
        return marked

    def _wait_for(self, task: NodeTask, links: Iterable[LinkedInput]) -> None:
        """Let a task wait for the nodes that these links come from."""
        for _, origin, _ in links:
            source = self.tasks[origin]
            source.readers += 1
            task.origins.append(source)
            if source.entry is None:
                source.consumers.append(task)
                task.waiting_for += 1

    def _queue(self, task: NodeTask) -> None:
        task.state = "ready"
        self._ready.append(task)

    def _dispatch(self, task: NodeTask) -> None:
        """Call a node whose inputs are there, unless its outputs turn out to be known."""
        if self._ask_lazily(task):
            return
        task.input_key = self._input_key(task)
        tiers, in_flight = self.shared.tiers, self.shared.in_flight
        tier = tiers.fetch(task.input_key, task.key, task.node.spec)
        with self.shared.lock:
            running = in_flight.get(task.input_key)
            if running is None:
                entry = usable(tiers.memory.by_input_key(task.input_key, task.key))
                if entry is None:
                    in_flight[task.input_key] = Future()
        if running is not None:
            task.state = "joined"
            self._joined += 1
            running.add_done_callback(
                lambda done: self._inbox.put(lambda: self._end_joined(task, done))
            )
        elif entry is not None:
            task.why = InputsUnchanged(task.why)
            self._reuse(task, entry, tier)
        else:
            task.state = "running"
            self._call(task)

    def _call(self, task: NodeTask) -> None:
        """Call a node: in a worker, or in this thread if nothing could overlap with it."""
        self._calling += 1
        shared = self.shared
        try:
            node, linked, context = task.node, self._linked_values(task), self._context(task)

            def work() -> CallOutcome:
                if self.cancel.is_set():
                    return CallOutcome(
                        0.0, error=RunCancelledError(f"cancelled before node {task.id} ran")
                    )
                self._send(Started(task.id, node.spec.name, task.why))
                return call(
                    node,
                    linked,
                    context,
                    digest=task.readers > 0,
                    fingerprinter=shared.fingerprinter,
                    sharing=shared.sharing,
                    ready=shared.ready.pop(task.key, None),
                )

            if node.spec.device or self._ready or self._calling > 1 or self._joined:
                shared.workers(node.spec.device).submit(lambda: self._post(task, work()))
                return
            outcome = work()
        except BaseException:
            self._end_call(task, CallOutcome(0.0, error=RunCancelledError("interrupted")))
            raise
        self._end_call(task, outcome)

    def _post(self, task: NodeTask, outcome: CallOutcome) -> None:
        self._inbox.put(lambda: self._end_call(task, outcome))

    def _ask_lazily(self, task: NodeTask) -> bool:
        """Return whether a node asked for lazy inputs that are missing, and now waits for them."""
        if task.node.spec.needs is None:
            return False
        try:
            names = needed(task.node, self._linked_values(task))
        except Exception as error:  # noqa: BLE001 - a node's own method may raise anything
            failure = NodeError(task.id, task.node.spec.name, {}, error)
            failure.__cause__ = error
            self._fail(task, failure)
            return True
        if not names:
            return False
        links = [(name, *task.node.links[name]) for name in names]
        task.links.extend(links)
        task.state = "waiting"
        self._start(self._demand([origin for _, origin, _ in links], task))
        self._wait_for(task, links)
        for source in [self.tasks[origin] for _, origin, _ in links]:
            if source.state in ("failed", "blocked"):
                self._block_consumers(source)
        if task.waiting_for == 0 and task.state == "waiting":
            self._queue(task)
        return True

    # Ending

    def _end_call(self, task: NodeTask, outcome: CallOutcome) -> None:
        """Take the outcome of a call that this run made."""
        self._calling -= 1
        self.model_calls += outcome.model_calls
        task.seconds = outcome.seconds
        if outcome.entry is not None:
            spec, key = task.node.spec, task.input_key
            self.shared.tiers.put(key, task.key, spec, outcome.entry, outcome.seconds)
        with self.shared.lock:
            running = self.shared.in_flight.pop(task.input_key)
        running.set_result(outcome)
        self._settle(task, outcome)

    def _end_joined(self, task: NodeTask, running: Future[CallOutcome]) -> None:
        """Take the outcome of an identical call, made for another node or in another run."""
        if task.state != "joined":
            return
        self._joined -= 1
        outcome = running.result()
        if outcome.entry is not None:
            task.why = CallShared(task.why)
            self.shared.tiers.memory.by_input_key(task.input_key, task.key)
            self._reuse(task, outcome.entry, "memory")
        elif isinstance(outcome.error, RunCancelledError) and not self.cancel.is_set():
            self._queue(task)
        else:
            self._settle(task, outcome)

    def _settle(self, task: NodeTask, outcome: CallOutcome) -> None:
        if outcome.entry is not None:
            task.state, task.entry, task.saved = "ran", outcome.entry, saved_in(outcome.entry)
            self._emit(
                Finished(task.id, outcome.seconds, task.saved, text_in(task.node.spec, task.entry))
            )
            self._release(task)
        elif isinstance(outcome.error, RunCancelledError):
            task.state = "cancelled"
            self._emit(Stopped(task.id))
            self.cancel.cancel()
        elif outcome.error is not None:
            self._fail(task, outcome.error)

    def _reuse(self, task: NodeTask, entry: Entry, tier: Tier) -> None:
        task.state, task.entry, task.tier = "reused", entry, tier
        task.saved = saved_in(entry)
        self._emit(Reused(task.id, tier, task.why, task.saved, text_in(task.node.spec, entry)))
        self._release(task)

    def _release(self, task: NodeTask) -> None:
        """A node has its outputs: queue what waited for them, and let go of its inputs."""
        self.shared.history.record(task.inputs, task.seconds)
        for consumer in task.consumers:
            consumer.waiting_for -= 1
            if consumer.waiting_for == 0 and consumer.state == "waiting":
                self._queue(consumer)
        task.consumers.clear()
        self._let_go_of_inputs(task)

    def _let_go_of_inputs(self, task: NodeTask) -> None:
        """Drop the outputs above that no other node will read."""
        for source in task.origins:
            source.readers -= 1
            if source.readers == 0 and source.id not in self._retained:
                source.let_go()
        task.origins.clear()

    def _fail(self, task: NodeTask, error: LatentloomError) -> None:
        """A node failed: skip what depends on it, and go on with the others."""
        task.state = "failed"
        self.errors.append(error)
        self._emit(Failed(task.id, error))
        self._let_go_of_inputs(task)
        self._block_consumers(task)

    def _block_consumers(self, task: NodeTask) -> None:
        """Skip every node that waits for one that will have no outputs."""
        waiting = [(consumer, task) for consumer in task.consumers]
        while waiting:
            consumer, source = waiting.pop()
            if consumer.state == "waiting":
                consumer.state, consumer.why = "blocked", UpstreamFailed(source.id)
                self._let_go_of_inputs(consumer)
                waiting.extend((below, consumer) for below in consumer.consumers)

    def _abandon(self) -> None:
        """The run is cancelled: start nothing more, and wait for no other run's call."""
        self._ready.clear()
        self._joined = 0
        for task in self.tasks.values():
            if task.state in ("waiting", "ready", "joined"):
                task.state = "cancelled"

    # Inputs and events

    def _linked_values(self, task: NodeTask) -> dict[str, Any]:
        values = {}
        for name, origin, output in task.links:
            entry = self.tasks[origin].entry
            assert entry is not None
            values[name] = entry.outputs[output]
        return values

    def _input_key(self, task: NodeTask) -> str:
        """Return the key over the values that came in; see `engine.execution.keys`."""
        upstream: dict[str, tuple[str, int]] = {}
        for name, origin, output in task.links:
            source = self.tasks[origin]
            assert source.entry is not None
            digest = source.entry.digest(output)
            upstream[name] = (source.key, output) if digest is None else (digest, -1)
        files, fingerprinter = task.inputs.files, self.shared.fingerprinter
        switches = self.shared.read_switches()
        return make_key(task.node, files, upstream, fingerprinter, task.output_dir, switches)

    def _context(self, task: NodeTask) -> Context:
        context = self.make_context(task.id)
        if task.node.spec.hidden is not None:
            context.cancelled = self.cancel.is_set
            context.on_progress = self._reporter(task.id)
        return context

    def _reporter(self, id: str) -> Callable[[int, int, object | None], None]:
        def report(step: int, total: int, preview: object | None) -> None:
            self._send(Progress(id, step, total))
            if preview is not None:
                self._send(Preview(id, preview))

        return report

    def _send(self, event: AnyEvent) -> None:
        """Emit from any thread; events of other threads arrive through the inbox."""
        if threading.get_ident() == self._owner:
            self._emit(event)
        else:
            self._inbox.put(lambda: self._emit(event))

    def _emit(self, event: AnyEvent) -> None:
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception as error:  # noqa: BLE001 - raised again when the run has ended
            self._consumer_error, self.on_event = error, None
            self.cancel.cancel()


def _wake() -> None:
    """Do nothing: a cancel puts this into the inbox so that the loop looks up."""
