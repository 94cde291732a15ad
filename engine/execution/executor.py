"""The engine: plans and runs graphs over one registry, one cache and one set of threads.

The life of a run, and the record that each stage hands on:

    load      a file -> `Graph`                                       engine/formats
    prepare   validate it -> `Preparation` of `Prepared` nodes        engine/graph/validate.py
    plan      keys, caches, reasons -> a `NodeTask` for each node     plan.py, keys.py
              its frozen view: `Plan` of `Step`s
    execute   call the nodes that are to run -> `CallOutcome`s        run.py, call.py
              on the way: events                                      events.py
    result    `Result` with a `NodeReport` for each node              here
    remember  `NodeInputs` -> `RunHistory` (this process)             history.py
              and -> `RunLog` (the next processes)                    run_log.py
"""

from __future__ import annotations

import functools
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..cache.disk import Store
from ..cache.memory import DEFAULT_BYTES, MemoryCache
from ..cache.tiers import Tier, Tiers
from ..errors import FormatError, LatentloomError, Problem
from ..files.workspace import Workspace
from ..formats.image_texts import MANIFEST
from ..formats.manifest import write_manifest
from ..graph.file_names import rename_files
from ..graph.graph import Graph
from ..graph.prepared import Preparation, Prepared
from ..graph.validate import check, prepare
from ..node.cancel import CancelToken
from ..node.context import Context
from ..node.registry import Registry
from .environment import read_environment
from .events import Closed, OnEvent, Status
from .manifests import make_manifest, write_manifest_files
from .plan import Plan, plan_tasks
from .reasons import Cancelled, Reason, Unneeded
from .run import Run
from .run_log import RunLog
from .shared import Shared
from .task import NodeTask

NodeState = Literal["ran", "reused", "skipped", "failed"]
STATES: dict[str, NodeState] = {"ran": "ran", "reused": "reused", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The outcome of one node.

    Attributes:
        tier: the cache that a reused node's outputs came from.
        why: why it ran, was reused or was skipped; `str(why)` is a sentence.
        seconds: duration of its call; 0 if it was not called.
    """

    type: str
    state: NodeState
    tier: Tier | None
    why: Reason
    seconds: float


@dataclass(frozen=True)
class Result:
    """The outcome of a run. `result[id]` gives a node's outputs.

    Attributes:
        saved: (node, path) for each file that output nodes saved, in this run or before.
        model_calls: evaluations of the denoising network; a CFG pair in one batch counts once.
    """

    status: Status
    nodes: Mapping[str, NodeReport]
    saved: tuple[tuple[str, Path], ...]
    model_calls: int
    seconds: float
    errors: tuple[LatentloomError, ...]
    _tasks: Mapping[str, NodeTask]
    _cache: MemoryCache

    def __getitem__(self, id: str) -> Any:
        """Return the value of a node with one output, or all its outputs by name and index.

        Raises:
            KeyError: there is no such node, it did not run, or its outputs were evicted.
        """
        task = self._tasks.get(id)
        if task is None:
            raise KeyError(f"no node {id!r} took part in this run")
        entry = task.entry or self._cache.by_key(task.key)
        if entry is None:
            raise KeyError(f"the outputs of {id!r} are not cached; run with it among the targets")
        return entry.outputs[0] if task.node.spec.has_bare_result else entry.outputs


class PlannedRun:
    """A run that is planned; `execute` may be called once.

    Attributes:
        nodes: that the targets need, ready to be called.
    """

    def __init__(
        self,
        nodes: Mapping[str, Prepared],
        make_plan: Callable[[], Plan],
        execute: Callable[[OnEvent | None, CancelToken, Mapping[str, str]], Result],
    ) -> None:
        self.nodes, self._make_plan, self._execute = nodes, make_plan, execute

    @cached_property
    def plan(self) -> Plan:
        """Return what it will do, and why; to be asked before it is executed."""
        return self._make_plan()

    def execute(
        self,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Result:
        """Run what was planned; arguments are those of `Engine.run`."""
        return self._execute(on_event, cancel or CancelToken(), metadata or {})


class Engine:
    """Runs graphs; one for a process is enough, and several threads may use it at once.

    Args:
        registry: the node types that graphs may use.
        cache_bytes: budget of the memory cache.
        workers: threads for CPU nodes; device nodes have one thread of their own.
        store: the disk cache, which the engine closes; without one, results end with the process.
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
        cpu_workers = workers or min(8, (os.cpu_count() or 2) + 1)
        self.shared = Shared(registry, Tiers(self.cache, store), cpu_workers)

    def check(self, graph: Graph, workspace: Workspace | None = None) -> tuple[Problem, ...]:
        """Return every problem of the whole graph; empty if there is none."""
        return check(graph, self.registry, workspace or Workspace())

    def plan(
        self,
        graph: Graph,
        workspace: Workspace | None = None,
        targets: Iterable[str] | None = None,
    ) -> Plan:
        """Return what a run would do, and why. Nothing is run.

        Raises:
            GraphError: the graph cannot run.
        """
        log = RunLog(graph, self.store)
        return Plan.of(*self._plan_tasks(graph, workspace or Workspace(), targets, log))

    def run(
        self,
        graph: Graph,
        workspace: Workspace | None = None,
        targets: Iterable[str] | None = None,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
        on_plan: Callable[[Plan], None] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a graph, reusing what is cached.

        Args:
            targets: ids of the nodes to compute; by default every output node.
            on_event: called in this thread with each event; the last is `Closed`.
            cancel: stops the run from another thread.
            on_plan: called with the plan before anything runs.
            metadata: strings that saved images carry besides the graph.

        Raises:
            GraphError: the graph cannot run; nothing was run.
        """
        planned = self.plan_run(graph, workspace, targets)
        if on_plan is not None:
            on_plan(planned.plan)
        return planned.execute(on_event, cancel, metadata)

    def plan_run(
        self,
        graph: Graph,
        workspace: Workspace | None = None,
        targets: Iterable[str] | None = None,
    ) -> PlannedRun:
        """Plan a run, to be executed or not; arguments and errors are those of `run`."""
        start, workspace = time.perf_counter(), workspace or Workspace()
        log = RunLog(graph, self.store)
        preparation, tasks = self._plan_tasks(graph, workspace, targets, log)

        def execute(
            on_event: OnEvent | None, cancel: CancelToken, metadata: Mapping[str, str]
        ) -> Result:
            make_context = self._context_maker(graph, workspace, tasks, metadata)
            run = Run(self.shared, tasks, preparation.targets, make_context, on_event, cancel)
            status = run.execute()
            if any(task.state == "ran" for task in tasks.values()):
                nodes, history = [task.inputs for task in tasks.values()], self.shared.history
                log.save(nodes, lambda inputs: history.last_seconds(inputs, log))
            if workspace.writes_manifests:
                self._write_manifests(tasks, workspace, log)
            if on_event is not None:
                on_event(Closed(status))
            with _without_collection():
                return self._result(run, preparation, status, time.perf_counter() - start)

        return PlannedRun(preparation.nodes, lambda: Plan.of(preparation, tasks), execute)

    def _write_manifests(
        self, tasks: Mapping[str, NodeTask], workspace: Workspace, log: RunLog
    ) -> None:
        """Write the manifests of the files that a run saved."""
        environment, history = read_environment(self.registry), self.shared.history
        seconds = {id: history.last_seconds(task.inputs, log) for id, task in tasks.items()}
        write_manifest_files(tasks, environment, self.shared.tiers, workspace.output_dir, seconds)

    def close(self) -> None:
        """Clear the memory cache, finish writing to disk, and end the threads."""
        self.cache.clear()
        if self.store is not None:
            self.store.close()
        self.shared.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plan_tasks(
        self, graph: Graph, workspace: Workspace, targets: Iterable[str] | None, log: RunLog
    ) -> tuple[Preparation, dict[str, NodeTask]]:
        with _without_collection():
            preparation = prepare(graph, self.registry, workspace, targets).checked()
            output_dir = os.path.abspath(workspace.output_dir)  # noqa: PTH100 - symlinks stay
            # A file without the graph is another result than one with it.
            output = output_dir if workspace.embeds_graph else f"{output_dir}\0"
            tasks = plan_tasks(preparation, self.shared, log, output)
        return preparation, tasks

    def _context_maker(
        self,
        graph: Graph,
        workspace: Workspace,
        tasks: Mapping[str, NodeTask],
        metadata: Mapping[str, str],
    ) -> Callable[[str], Context]:
        """Return the function that makes the context of each node of a run."""
        output_dir = workspace.output_dir
        temp_dir = workspace.temp_dir or Path(tempfile.gettempdir()) / "latentloom"

        @functools.cache
        def embedded_graph() -> Mapping[str, str]:
            from ..formats import embed

            names = {str(path): path.name for path in workspace.granted}
            return embed(rename_files(graph, names), self.registry)

        def embedded(id: str) -> Mapping[str, str]:
            if not workspace.embeds_graph:
                return {}
            texts = {**metadata, **embedded_graph()}
            environment = read_environment(self.registry)
            with suppress(FormatError):
                manifest = make_manifest(tasks, id, environment, self.shared.tiers)
                texts[MANIFEST] = write_manifest(manifest)
            return texts

        def make_context(id: str) -> Context:
            metadata = functools.partial(embedded, id)
            return Context(id, output_dir, temp_dir, metadata=metadata)

        return make_context

    def _result(self, run: Run, preparation: Preparation, status: Status, seconds: float) -> Result:
        nodes = {id: _report(task) for id, task in run.tasks.items()}
        for id, type_name in preparation.unneeded:
            nodes[id] = NodeReport(type_name, "skipped", None, Unneeded(), 0.0)
        return Result(
            status=status,
            nodes=nodes,
            saved=tuple((id, Path(path)) for id, task in run.tasks.items() for path in task.saved),
            model_calls=run.model_calls,
            seconds=seconds,
            errors=tuple(run.errors),
            _tasks=run.tasks,
            _cache=self.cache,
        )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause garbage collection: planning makes many objects, and all of them stay alive.

    The collector would scan them again and again, which doubles the time for 10,000 nodes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _report(task: NodeTask) -> NodeReport:
    state = STATES.get(task.state, "skipped")
    why = Cancelled() if task.state == "cancelled" else task.why
    tier = task.tier if state == "reused" else None
    return NodeReport(task.inputs.type, state, tier, why, task.seconds)
