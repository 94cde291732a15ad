"""Run the items of a batch or a sweep: each unless it is finished, with what they share cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import GraphError, LatentloomError
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from .events import OnEvent
from .executor import Engine, PlannedRun, Result
from .item_memory import ItemMemory, forget_values
from .plan import Plan
from .progress_file import ProgressFile


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome of one item.

    Attributes:
        state: "skipped" if an earlier run of the batch or sweep finished it.
        saved: the files that were saved for it, now or before.
        errors: why it failed.
    """

    state: Literal["ran", "skipped", "failed", "cancelled"]
    saved: tuple[Path, ...] = ()
    errors: tuple[LatentloomError, ...] = ()
    model_calls: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item to run.

    Attributes:
        index: its position among the items, counted without gaps.
        name: for people who read the progress file.
        last_use: gives for the id of a node the last item that can use its outputs.
    """

    index: int
    name: str
    graph: Graph
    workspace: Workspace
    last_use: Callable[[str], int]


class ItemRunner:
    """Runs items in turn, notes what is finished, and drops outputs that no later item can use.

    Raises:
        OSError: the progress file cannot be read.
    """

    def __init__(self, engine: Engine, progress_file: Path) -> None:
        self._engine, self.progress = engine, ProgressFile(progress_file)
        self._memory = ItemMemory(engine.cache)

    def run(
        self, item: Item, on_event: OnEvent | None = None, cancel: CancelToken | None = None
    ) -> ItemOutcome:
        """Run an item unless it is finished, and note that it is; a failure is an outcome.

        Raises:
            OSError: the progress file cannot be written.
        """
        try:
            planned = self._engine.plan_run(item.graph, item.workspace)
            key, result = self._execute(item, planned, on_event, cancel)
        except GraphError as error:
            forget_values(error)
            return ItemOutcome("failed", errors=(error,))
        finally:
            self._memory.end(item.index)
        if result is None:
            return ItemOutcome("skipped", self.progress.saved(key) or ())
        saved = tuple(dict.fromkeys(path for _, path in result.saved))
        outcome = ItemOutcome("ran", saved, result.errors, result.model_calls, result.seconds)
        if result.status == "cancelled":
            return replace(outcome, state="cancelled", errors=())
        if result.errors:
            for failure in result.errors:
                forget_values(failure)
            return replace(outcome, state="failed")
        self.progress.add(key, item.name, saved)
        return outcome

    def is_finished(self, plan: Plan) -> bool:
        """Return whether an item with this plan is finished, and its files are there."""
        return self.progress.saved(plan_key(plan)) is not None

    def close(self) -> None:
        """Drop what the items left in the memory cache."""
        self._memory.close()

    def _execute(
        self,
        item: Item,
        planned: PlannedRun,
        on_event: OnEvent | None,
        cancel: CancelToken | None,
    ) -> tuple[str, Result | None]:
        """Return the key of an item, and its result; None if it is finished."""
        steps = planned.plan.nodes
        self._memory.begin({step.key: item.last_use(id) for id, step in steps.items() if step.key})
        key = plan_key(planned.plan)
        if self.progress.saved(key) is not None:
            return key, None
        return key, planned.execute(on_event, cancel)


def plan_key(plan: Plan) -> str:
    """Return the key of a run: that of all its nodes."""
    keys = "\n".join(f"{id} {step.key}" for id, step in sorted(plan.nodes.items()))
    return hashlib.sha256(keys.encode()).hexdigest()
