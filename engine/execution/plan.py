"""Decide for each node of a graph whether it runs, is reused or is skipped, and why.

`plan_tasks` makes a `NodeTask` for each prepared node: its key, what the caches have for it, the
action and the reason. A `Plan` is the frozen view of these tasks; a run goes on with the tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..cache.memory import MemoryCache
from ..cache.tiers import Tier, usable
from ..graph.prepared import Preparation
from .history import RunHistory
from .keys import make_key
from .node_inputs import NodeInputs
from .reasons import Reason, RunsOnlyIfAsked, SavedFileMissing, Unchanged, Unneeded
from .run_log import RunLog
from .shared import Shared
from .task import Action, NodeTask

UNCHANGED = Unchanged()


@dataclass(frozen=True, slots=True)
class Step:
    """The decision for one node.

    Attributes:
        action: "run", "reuse" (its outputs are cached and needed), or "skip" (not needed).
        tier: the cache that it is reused from.
        why: the reason; `str(why)` is a sentence.
        seconds: duration of the node's last call, where it is to run and that is known.
    """

    id: str
    type: str
    action: Action
    tier: Tier | None
    why: Reason
    key: str
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """The decisions for all nodes, in topological order."""

    nodes: Mapping[str, Step]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, preparation: Preparation, tasks: Mapping[str, NodeTask]) -> Plan:
        """Return the plan that these tasks stand for, with the nodes that no target needs."""
        steps = {id: _step(task) for id, task in tasks.items()}
        for id, type_name in preparation.unneeded:
            steps[id] = Step(id, type_name, "skip", None, Unneeded(), "")
        return cls(steps, preparation.targets)

    def count(self, action: Action) -> int:
        """Return the number of nodes with this action."""
        return sum(step.action == action for step in self.nodes.values())

    @property
    def seconds(self) -> float | None:
        """Return the last duration of the nodes that are to run; None if one of them is unknown."""
        known = [step.seconds for step in self.nodes.values() if step.action == "run"]
        return sum(seconds or 0.0 for seconds in known) if None not in known else None


def plan_tasks(
    preparation: Preparation, shared: Shared, log: RunLog, output_dir: str
) -> dict[str, NodeTask]:
    """Return the tasks of a run in topological order, with their actions and reasons.

    Args:
        output_dir: where output nodes write; it is in their keys, and in theirs only.
    """
    tiers, fingerprinter, digest = shared.tiers, shared.fingerprinter, shared.digests.digest
    switches = shared.read_switches()
    tasks: dict[str, NodeTask] = {}
    for id, node in preparation.nodes.items():
        spec = node.spec
        files = {name: (file.digest or digest)(file.path) for name, file in node.files.items()}
        upstream = {name: tasks[source.node].inputs.key for name, source in node.links.items()}
        sources = {name: (upstream[name], source.output) for name, source in node.links.items()}
        key = make_key(node, files, sources, fingerprinter, output_dir, switches)
        lazy = {port.name for port in spec.inputs if port.lazy} if spec.needs else ()
        links = [(name, *source) for name, source in node.links.items() if name not in lazy]
        entry = usable(tiers.memory.by_key(key))
        stored = tiers.on_disk(key, spec) if entry is None else None
        tasks[id] = NodeTask(
            inputs=NodeInputs(node, key, files, upstream),
            links=links,
            output_dir=output_dir,
            entry=entry,
            tier="memory" if entry is not None else "disk" if stored is not None else None,
            input_key=stored or "",
        )
    demand(tasks, preparation.targets)
    _explain(tasks, tiers.memory, shared.history, log)
    return tasks


def demand(tasks: Mapping[str, NodeTask], ids: Iterable[str]) -> list[NodeTask]:
    """Mark these nodes as needed, and what they need in turn; return the newly marked ones.

    A node that is reused needs nothing above it.
    """
    marked: list[NodeTask] = []
    waiting = [tasks[id] for id in ids]
    while waiting:
        task = waiting.pop()
        if task.action != "skip":
            continue
        marked.append(task)
        task.action = "run" if task.tier is None else "reuse"
        if task.tier is None:
            waiting.extend(tasks[origin] for _, origin, _ in task.links)
    return marked


def needed_late(tasks: Mapping[str, NodeTask]) -> set[str]:
    """Return the nodes whose outputs a lazy input may ask for late; they stay until the end.

    These are the origins of lazy links, and of the skipped nodes above them in turn.
    """
    waiting = [
        task.node.links[port.name].node
        for task in tasks.values()
        if task.node.spec.needs is not None
        for port in task.node.spec.inputs
        if port.lazy and port.name in task.node.links
    ]
    late: set[str] = set()
    while waiting:
        id = waiting.pop()
        if id not in late:
            late.add(id)
            if tasks[id].action == "skip":
                waiting.extend(link.node for link in tasks[id].node.links.values())
    return late


def _step(task: NodeTask) -> Step:
    inputs = task.inputs
    tier = task.tier if task.action == "reuse" else None
    id, type_name = inputs.node.id, inputs.type
    return Step(id, type_name, task.action, tier, task.why, inputs.key, task.last_seconds)


def _explain(
    tasks: Mapping[str, NodeTask], memory: MemoryCache, history: RunHistory, log: RunLog
) -> None:
    """Give each task its reason, and to those that run how long they took last."""
    asked = _asked_late(tasks)
    for id, task in tasks.items():
        if task.action == "run":
            is_cached = memory.by_key(task.inputs.key) is not None
            task.why = SavedFileMissing() if is_cached else history.why(task.inputs, log)
            task.last_seconds = history.last_seconds(task.inputs, log)
        elif task.action == "reuse":
            task.why = UNCHANGED
        elif id in asked:
            task.why = RunsOnlyIfAsked(asked[id])


def _asked_late(tasks: Mapping[str, NodeTask]) -> dict[str, str]:
    """Return the skipped nodes that a lazy input may ask for, with the id of the asking node."""
    asked: dict[str, str] = {}
    for id, task in tasks.items():
        if task.action != "run" or task.node.spec.needs is None:
            continue
        needed = {name for name, _, _ in task.links}
        waiting = [link.node for name, link in task.node.links.items() if name not in needed]
        while waiting:
            origin = waiting.pop()
            if tasks[origin].action == "skip" and origin not in asked:
                asked[origin] = id
                if tasks[origin].tier is None:
                    waiting.extend(link.node for link in tasks[origin].node.links.values())
    return asked
