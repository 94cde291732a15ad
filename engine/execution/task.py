"""The record of one node on its way through a run: planned, called, done.

One thread plans and runs it, and changes it on the way; `plan.Step` is the frozen view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..cache.entry_file import EntryRecord
from ..cache.memory import Entry
from ..cache.tiers import Tier, describe_entry
from ..graph.prepared import Prepared
from .node_inputs import NodeInputs
from .reasons import NoConsumerRuns, Reason

Action = Literal["run", "reuse", "skip"]
TaskState = Literal[
    "planned", "waiting", "ready", "running", "joined",
    "ran", "reused", "failed", "blocked", "cancelled",
]  # fmt: skip
LinkedInput = tuple[str, str, int]
"""(input, id of the node that it is linked to, index of its output)"""

NO_CONSUMER_RUNS = NoConsumerRuns()


@dataclass(kw_only=True, slots=True)
class NodeTask:
    """A prepared node, what the plan decided for it, and what became of it.

    Attributes:
        links: the links that it needs: lazy ones only once it has asked for them.
        output_dir: where output nodes write.
        entry: its outputs; let go once no node will read them.
        record: what its outputs were, once they are let go.
        tier: the cache that has its outputs; None if none has.
        input_key: the key of its entry on disk, then that of the values that came in.
        last_seconds: duration of its last call, where it is to run and that is known.
        state: "planned" if the run has not needed it yet; "joined" while it waits for an
            identical call; "blocked" if a node above failed.
        waiting_for: the number of linked nodes that have no outputs yet.
        consumers: the nodes that wait for this one.
        origins: the nodes that it reads.
        readers: the number of nodes that will still read its outputs.
        seconds: duration of its call.
        saved: the files that it saved.
    """

    inputs: NodeInputs
    links: list[LinkedInput]
    output_dir: str
    entry: Entry | None = None
    record: EntryRecord | None = None
    tier: Tier | None = None
    input_key: str = ""
    action: Action = "skip"
    why: Reason = NO_CONSUMER_RUNS
    last_seconds: float | None = None
    state: TaskState = "planned"
    waiting_for: int = 0
    consumers: list[NodeTask] = field(default_factory=list)
    origins: list[NodeTask] = field(default_factory=list)
    readers: int = 0
    seconds: float = 0.0
    saved: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the node."""
        return self.inputs.node.id

    def let_go(self) -> None:
        """Drop the outputs; their digests and notes stay."""
        if self.entry is not None:
            self.record = describe_entry(self.entry)
        self.entry = None

    def describe(self) -> EntryRecord | None:
        """Return what its outputs are or were; None if it has had none in this run."""
        entry = self.entry
        return self.record if entry is None else describe_entry(entry)

    @property
    def node(self) -> Prepared:
        """The node, ready to be called."""
        return self.inputs.node

    @property
    def key(self) -> str:
        """The key that the plan knows it by; see `engine.execution.keys`."""
        return self.inputs.key
