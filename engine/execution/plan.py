"""Graph and caches -> per node: run, reuse or skip, and why.

Every node has a key, made before anything runs from its type, version and source, its literals,
the content of the files it names, and the keys of what it is linked to. Ids, titles and positions
are in no key, so that two nodes that ask for the same share one result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..cache.file_digests import FileDigests
from ..cache.fingerprint import Fingerprinter
from ..cache.memory import Entry, MemoryCache
from ..cache.tiers import Tier, Tiers, usable
from ..graph.validate import Preparation, Prepared
from .history import History, LastTime, Trace
from .reasons import (
    NoConsumerRuns,
    Reason,
    RunsOnlyIfAsked,
    SavedFileMissing,
    Unchanged,
)

Action = Literal["run", "reuse", "skip"]
NO_CONSUMER_RUNS, UNCHANGED = NoConsumerRuns(), Unchanged()


@dataclass(frozen=True, slots=True)
class Step:
    """What will happen to one node.

    Attributes:
        action: "run", "reuse" (its outputs are kept and needed), or "skip" (not needed).
        tier: the cache that it is reused from.
        why: the reason; `str(why)` is a sentence.
        seconds: what the node's last call took, if it is to run and that is known.
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
    """What a run would do, node by node in topological order."""

    nodes: Mapping[str, Step]
    targets: tuple[str, ...]

    def count(self, action: Action) -> int:
        """How many nodes have this action."""
        return sum(step.action == action for step in self.nodes.values())

    @property
    def seconds(self) -> float | None:
        """What the nodes that are to run took last; None if that is not known of all of them."""
        known = [step.seconds for step in self.nodes.values() if step.action == "run"]
        return sum(each or 0.0 for each in known) if None not in known else None


@dataclass(slots=True)
class Task:
    """A prepared node on its way: its key, what is kept of it, and what will happen to it.

    Attributes:
        entry: what is kept in memory.
        on_disk: where there is none: the trace that the disk tier has an entry of.
    """

    node: Prepared
    key: str
    trace: Trace
    entry: Entry | None = None
    on_disk: str | None = None
    action: Action = "skip"
    why: Reason = NO_CONSUMER_RUNS
    place: str = ""
    seconds: float | None = None
    links: list[tuple[str, str, int]] = field(default_factory=list)
    """(input, id of the origin, output) of each link that is needed from the start."""

    @property
    def tier(self) -> Tier | None:
        """Where its outputs are kept; None if they are not."""
        if self.entry is not None:
            return "memory"
        return "disk" if self.on_disk is not None else None

    @property
    def step(self) -> Step:
        """The same as the frozen record that a plan shows."""
        tier = self.tier if self.action == "reuse" else None
        node = self.node
        return Step(node.id, node.spec.name, self.action, tier, self.why, self.key, self.seconds)


def make_tasks(
    preparation: Preparation,
    tiers: Tiers,
    digests: FileDigests,
    history: History,
    fingerprinter: Fingerprinter,
    place: str = "",
    last_time: LastTime = lambda _: None,
) -> dict[str, Task]:
    """The tasks of a run, in topological order, with their actions and reasons.

    Args:
        place: where output nodes write to; it is in their keys, and in theirs only.
        last_time: what a node ran with in an earlier process.
    """
    tasks: dict[str, Task] = {}
    for id, node in preparation.nodes.items():
        files = {
            name: (file.digest or digests.digest)(file.path) for name, file in node.files.items()
        }
        upstream = {name: (tasks[source.node].key, source) for name, source in node.links.items()}
        outputs = {name: (key, at.output) for name, (key, at) in upstream.items()}
        key = make_key(node, files, outputs, fingerprinter, place)
        lazy = {port.name for port in node.spec.inputs if port.lazy} if node.spec.needs else ()
        links = [(name, *source) for name, source in node.links.items() if name not in lazy]
        trace = Trace(node, key, files, {name: key for name, (key, _) in upstream.items()})
        task = Task(node, key, trace, usable(tiers.memory.by_key(key)), place=place, links=links)
        if task.entry is None:
            task.on_disk = tiers.on_disk(key, node.spec)
        tasks[id] = task
    demand(tasks, preparation.targets)
    _explain(tasks, tiers.memory, lambda trace: history.why(trace, last_time))
    for task in tasks.values():
        if task.action == "run":
            task.seconds = history.took(task.trace, last_time)
    return tasks


def demand(tasks: Mapping[str, Task], ids: Iterable[str]) -> list[Task]:
    """Mark these nodes as needed, and what they need in turn; the ones newly marked.

    Nothing above a node that is reused is needed by it.
    """
    fresh: list[Task] = []
    waiting = [tasks[id] for id in ids]
    while waiting:
        task = waiting.pop()
        if task.action != "skip":
            continue
        fresh.append(task)
        task.action = "run" if task.tier is None else "reuse"
        if task.tier is None:
            waiting.extend(tasks[origin] for _, origin, _ in task.links)
    return fresh


def make_key(
    node: Prepared,
    files: Mapping[str, str],
    upstream: Mapping[str, tuple[str, int]],
    fingerprinter: Fingerprinter,
    place: str = "",
) -> str:
    """The digest of all that decides a node's outputs.

    Args:
        files: content digests of the files it names, by input, and of others that it reads.
        upstream: per linked input a digest that stands for the value, and the output's index.
    """
    sink = hashlib.sha256(node.spec.identity.encode())
    if node.spec.output_node and node.spec.hidden:
        sink.update(place.encode("utf-8", "surrogatepass"))
    for port in node.spec.inputs:
        name = port.name
        sink.update(name.encode())
        if name in upstream:
            digest, output = upstream[name]
            sink.update(f"<{digest}.{output}".encode())
        elif name in files:
            sink.update(f"@{files[name]}".encode())
        else:
            sink.update(b"=")
            fingerprinter.feed(node.literals.get(name), sink)
    for name in sorted(name for name in files if node.spec.port(name) is None):
        sink.update(f"+{len(name)}:{name}@{files[name]}".encode())
    return sink.hexdigest()


def _explain(
    tasks: Mapping[str, Task], memory: MemoryCache, reason: Callable[[Trace], Reason]
) -> None:
    late = _asked_late(tasks)
    for task in tasks.values():
        if task.action == "run":
            is_cached = memory.by_key(task.key) is not None
            task.why = SavedFileMissing() if is_cached else reason(task.trace)
        elif task.action == "reuse":
            task.why = UNCHANGED
        elif task.node.id in late:
            task.why = RunsOnlyIfAsked(late[task.node.id])
        else:
            task.why = NO_CONSUMER_RUNS


def _asked_late(tasks: Mapping[str, Task]) -> dict[str, str]:
    """The nodes that are skipped unless a lazy input asks for them, and whose input it is."""
    late: dict[str, str] = {}
    for id, task in tasks.items():
        if task.action != "run":
            continue
        now = {name for name, _, _ in task.links}
        waiting = [link.node for name, link in task.node.links.items() if name not in now]
        while waiting:
            above = waiting.pop()
            if tasks[above].action == "skip" and above not in late:
                late[above] = id
                if tasks[above].tier is None:
                    waiting.extend(link.node for link in tasks[above].node.links.values())
    return late
