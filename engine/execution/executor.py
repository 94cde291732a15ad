"""The engine: plans and runs graphs over one registry, one cache and one set of threads."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..cache.disk import Store
from ..cache.file_digests import FileDigests
from ..cache.fingerprint import Fingerprinter
from ..cache.memory import DEFAULT_BYTES, Entry, MemoryCache
from ..cache.tiers import Tier, Tiers
from ..errors import LatentloomError, Problem
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..graph.validate import Preparation, check, prepare
from ..node.cancel import CancelToken
from ..node.context import Context
from ..node.registry import Registry
from .call import Outcome
from .events import Closed, OnEvent, Status
from .history import History
from .job import Job
from .past import Past
from .plan import Plan, Step, Task, make_tasks
from .reasons import Cancelled, Reason, Unneeded
from .run import Run
from .threads import thread_sharing

NodeState = Literal["ran", "reused", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What became of one node.

    Attributes:
        tier: the cache that a reused node's outputs came from.
        why: why it ran, was reused or was skipped; `str(why)` is a sentence.
        seconds: time of its call; 0 where it was not called.
    """

    type: str
    state: NodeState
    tier: Tier | None
    why: Reason
    seconds: float


@dataclass(frozen=True)
class Result:
    """The outcome of a run. `result[id]` gives a node's outputs as values in memory.

    Attributes:
        saved: (node, file) for each file that output nodes wrote or had written before.
        model_calls: evaluations of the denoising network; a CFG pair in one batch counts once.
    """

    status: Status
    nodes: Mapping[str, NodeReport]
    saved: tuple[tuple[str, Path], ...]
    model_calls: int
    seconds: float
    errors: tuple[LatentloomError, ...]
    _find: Callable[[str], Entry | None]
    _single: Mapping[str, bool]

    def __getitem__(self, id: str) -> Any:
        """The value of a node with one output, or all its outputs by name and index.

        Raises:
            KeyError: there is no such node, it did not run, or its outputs were evicted.
        """
        if id not in self._single:
            raise KeyError(f"no node {id!r} took part in this run")
        entry = self._find(id)
        if entry is None:
            raise KeyError(f"the outputs of {id!r} are not kept; run with it among the targets")
        return entry.outputs[0] if self._single[id] else entry.outputs


class Engine:
    """Runs graphs; one for a process is enough, and several threads may use it at once.

    Args:
        registry: the node types that graphs may use.
        cache_bytes: how many bytes of outputs to keep between runs.
        workers: threads for CPU nodes; device nodes have one thread of their own.
        store: the disk tier, which the engine closes; without one, results end with the process.
    """

    def __init__(
        self,
        registry: Registry,
        cache_bytes: int = DEFAULT_BYTES,
        workers: int | None = None,
        store: Store | None = None,
    ) -> None:
        self.registry = registry
        self.cache = MemoryCache(cache_bytes)
        self.store = store
        self.tiers = Tiers(self.cache, store)
        self.history = History()
        self.digests = FileDigests()
        self.fingerprinter = Fingerprinter.of(registry)
        self.sharing = thread_sharing(registry)
        self.flights: dict[str, Future[Outcome]] = {}
        self.lock = threading.Lock()
        self._workers = workers or min(8, (os.cpu_count() or 2) + 1)
        self._lanes: dict[bool, ThreadPoolExecutor] = {}

    def lane(self, device: bool) -> Executor:
        """The threads that call device nodes, or those that call CPU nodes."""
        with self.lock:
            if device not in self._lanes:
                count, name = (1, "device") if device else (self._workers, "cpu")
                self._lanes[device] = ThreadPoolExecutor(count, f"latentloom-{name}")
            return self._lanes[device]

    def check(self, graph: Graph, workspace: Workspace | None = None) -> tuple[Problem, ...]:
        """Every problem of the whole graph; empty if there is none."""
        return check(graph, self.registry, workspace or Workspace())

    def plan(
        self,
        graph: Graph,
        workspace: Workspace | None = None,
        targets: Iterable[str] | None = None,
    ) -> Plan:
        """What a run would do, and why. Nothing is run.

        Raises:
            GraphError: the graph cannot run.
        """
        past = Past(graph, self.store)
        ready, tasks = self._tasks(graph, workspace or Workspace(), targets, past)
        return _plan(ready, tasks)

    def run(
        self,
        graph: Graph,
        workspace: Workspace | None = None,
        targets: Iterable[str] | None = None,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
        on_plan: Callable[[Plan], None] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a graph, reusing what is kept.

        Args:
            targets: ids to run for; by default every output node.
            on_event: called in this thread with each event, the last being `Closed`.
            cancel: stops the run from another thread.
            on_plan: called with the plan before anything runs.
            texts: what saved images carry besides the graph.

        Raises:
            GraphError: the graph cannot run; nothing was run.
        """
        start = time.perf_counter()
        workspace = workspace or Workspace()
        past = Past(graph, self.store)
        ready, tasks = self._tasks(graph, workspace, targets, past)
        if on_plan is not None:
            on_plan(_plan(ready, tasks))
        context = self._contexts(graph, workspace, texts or {})
        run = Run(self, tasks, ready.targets, context, on_event, cancel or CancelToken())
        status = run.execute()
        if any(job.state == "ran" for job in run.jobs.values()):
            traces = [task.trace for task in tasks.values()]
            past.keep(traces, lambda trace: self.history.took(trace, past.last))
        if on_event is not None:
            on_event(Closed(status))
        with _without_collection():
            return self._result(run, ready, status, time.perf_counter() - start)

    def close(self) -> None:
        """Forget what is kept in memory and end the threads; what is to be on the disk is."""
        self.cache.clear()
        if self.store is not None:
            self.store.close()
        for lane in self._lanes.values():
            lane.shutdown(wait=True)
        self._lanes.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tasks(
        self, graph: Graph, workspace: Workspace, targets: Iterable[str] | None, past: Past
    ) -> tuple[Preparation, dict[str, Task]]:
        with _without_collection():
            ready = prepare(graph, self.registry, workspace, targets).checked()
            place = os.path.abspath(workspace.output_dir)  # noqa: PTH100 - symlinks kept
            tasks = make_tasks(
                ready,
                self.tiers,
                self.digests,
                self.history,
                self.fingerprinter,
                place,
                past.last,
            )
        return ready, tasks

    def _contexts(
        self, graph: Graph, workspace: Workspace, texts: Mapping[str, str]
    ) -> Callable[[str], Context]:
        """What makes the context of each node of a run."""
        output_dir = workspace.output_dir
        shared = _without_folders(graph, workspace)
        temp_dir = workspace.temp_dir or Path(tempfile.gettempdir()) / "latentloom"

        def metadata() -> Mapping[str, str]:
            from ..formats import embed

            return {**texts, **embed(shared, self.registry)}

        def context(id: str) -> Context:
            return Context(id, output_dir, temp_dir, metadata=metadata)

        return context

    def _result(self, run: Run, ready: Preparation, status: Status, seconds: float) -> Result:
        jobs, tasks = run.jobs, run.tasks
        nodes = {id: _report(task, jobs.get(id)) for id, task in tasks.items()}
        for id, type_name in ready.unneeded:
            nodes[id] = NodeReport(type_name, "skipped", None, Unneeded(), 0.0)
        kept = {id: job.entry for id, job in jobs.items() if job.entry is not None}
        cache = self.cache

        def find(id: str) -> Entry | None:
            return kept.get(id) or cache.by_key(tasks[id].key)

        return Result(
            status=status,
            nodes=nodes,
            saved=tuple((id, Path(path)) for id, job in jobs.items() for path in job.saved),
            model_calls=run.model_calls,
            seconds=seconds,
            errors=tuple(run.errors),
            _find=find,
            _single={id: task.node.spec.has_bare_result for id, task in tasks.items()},
        )


def _plan(ready: Preparation, tasks: Mapping[str, Task]) -> Plan:
    steps = {id: task.step for id, task in tasks.items()}
    for id, type_name in ready.unneeded:
        steps[id] = Step(id, type_name, "skip", None, Unneeded(), "")
    return Plan(steps, ready.targets)


def _without_folders(graph: Graph, workspace: Workspace) -> Graph:
    """The graph as images carry it: of files that lie anywhere, only the names are told."""
    places = {str(path): path.name for path in workspace.granted}
    if not places:
        return graph
    for id, node in graph.nodes.items():
        for name, value in node.inputs.items():
            if isinstance(value, str) and value in places:
                graph = graph.set(f"{id}.{name}", places[value])
    for name, graph_input in graph.inputs.items():
        if isinstance(graph_input.default, str) and graph_input.default in places:
            graph = graph.set_input(name, places[graph_input.default])
    return graph


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the collector of cycles: planning makes many objects, all of which live on.

    It would look through them again and again, which doubles the time for 10,000 nodes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _report(task: Task, job: Job | None) -> NodeReport:
    type_name = task.node.spec.name
    if job is None:
        return NodeReport(type_name, "skipped", None, task.why, 0.0)
    states: dict[str, NodeState] = {"ran": "ran", "reused": "reused", "failed": "failed"}
    state = states.get(job.state, "skipped")
    why = Cancelled() if job.state == "cancelled" else job.why
    tier = job.tier if state == "reused" else None
    return NodeReport(type_name, state, tier, why, job.seconds)
