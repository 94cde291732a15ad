"""Run the items of a batch or a sweep: each unless it is finished, with what they share cached."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from ..errors import GraphError, LatentloomError
from ..node.cancel import CancelToken
from .events import OnEvent
from .executor import Engine, PlannedRun, Result
from .item import Item
from .item_memory import ItemMemory, forget_values
from .plan import Plan
from .progress_file import FinishedItem, ProgressFile
from .scores import read_scores, targets_with_scores
from .together import Gain, Together


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome of one item.

    Attributes:
        state: "skipped" if an earlier run of the batch or sweep finished it.
        saved: the files that were saved for it, now or before.
        errors: why it failed.
        scores: the numbers of the nodes that measure, by `node.output`.
        result: of its run; it holds values until the next but one item runs.
    """

    state: Literal["ran", "skipped", "failed", "cancelled"]
    saved: tuple[Path, ...] = ()
    errors: tuple[LatentloomError, ...] = ()
    model_calls: int = 0
    seconds: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    result: Result | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, id: str) -> Any:
        """Return the outputs of a node, as `Result` has them, until the next item runs.

        Raises:
            KeyError: the item did not run, or the node did not take part.
        """
        if self.result is None:
            raise KeyError(f"{id!r}: the item did not run: {self.state}")
        return self.result[id]

    def without_values(self) -> Self:
        """Return the outcome without the values of its run, to be stored."""
        return replace(self, result=None)


class ItemRunner:
    """Runs items in turn, notes what is finished, and drops outputs that no later item can use.

    Raises:
        OSError: the progress file cannot be read.
    """

    def __init__(self, engine: Engine, progress_file: Path) -> None:
        self._engine, self.progress = engine, ProgressFile(progress_file)
        self._memory = ItemMemory(engine.cache)
        self._together = Together(engine)

    @property
    def gain(self) -> Gain:
        """The effect of `compute_together` so far."""
        return self._together.gain

    def compute_together(self, items: Iterable[Item], cancel: CancelToken | None = None) -> None:
        """Compute what items that run next have alike, such as samplings, as one."""
        planned = []
        for item in items:
            try:
                run = self._plan(item)
            except GraphError:
                continue  # `run` reports it
            if not self.is_finished(run.plan):
                self._remember(item, run)
                planned.append((item, run))
        self._together.compute(planned, cancel)

    def run(
        self, item: Item, on_event: OnEvent | None = None, cancel: CancelToken | None = None
    ) -> ItemOutcome:
        """Run an item unless it is finished, and note that it is; a failure is an outcome.

        Raises:
            OSError: the progress file cannot be written.
        """
        try:
            key, result = self._execute(item, self._plan(item), on_event, cancel)
            if isinstance(result, FinishedItem):
                return ItemOutcome("skipped", result.saved, scores=result.scores)
            return self._finish(item, key, result)
        except GraphError as error:
            forget_values(error)
            return ItemOutcome("failed", errors=(error,))
        finally:
            self._memory.end(item.index)

    def _finish(self, item: Item, key: str, result: Result) -> ItemOutcome:
        """Return the outcome of an item that ran, and note it if it is finished."""
        saved = tuple(dict.fromkeys(path for _, path in result.saved))
        calls, seconds = self._together.spent.pop(item.index, (0, 0.0))
        outcome = ItemOutcome(
            "ran", saved, result.errors, result.model_calls + calls, result.seconds + seconds
        )
        if result.status == "cancelled":
            return replace(outcome, state="cancelled", errors=())
        if result.errors:
            for failure in result.errors:
                forget_values(failure)
            return replace(outcome, state="failed")
        scores = read_scores(item.graph, self._engine.registry, result)
        self.progress.add(key, item.name, FinishedItem(saved, scores))
        return replace(outcome, scores=scores, result=result)

    def is_finished(self, plan: Plan) -> bool:
        """Return whether an item with this plan is finished, and its files are there."""
        return self.progress.finished(plan_key(plan)) is not None

    def close(self) -> None:
        """Drop what the items left in memory, and close the progress file."""
        self.progress.close()
        self._together.close()
        self._memory.close()

    def _plan(self, item: Item) -> PlannedRun:
        targets = targets_with_scores(item.graph, self._engine.registry)
        return self._engine.plan_run(item.graph, item.workspace, targets)

    def _remember(self, item: Item, planned: PlannedRun) -> None:
        steps = planned.plan.nodes
        self._memory.begin({step.key: item.last_use(id) for id, step in steps.items() if step.key})

    def _execute(
        self,
        item: Item,
        planned: PlannedRun,
        on_event: OnEvent | None,
        cancel: CancelToken | None,
    ) -> tuple[str, Result | FinishedItem]:
        """Return the key of an item, and its result, or what it has if it is finished."""
        self._remember(item, planned)
        key = plan_key(planned.plan)
        return key, self.progress.finished(key) or planned.execute(on_event, cancel)


def plan_key(plan: Plan) -> str:
    """Return the key of a run: that of all its nodes."""
    keys = "\n".join(f"{id} {step.key}" for id, step in sorted(plan.nodes.items()))
    return hashlib.sha256(keys.encode()).hexdigest()
