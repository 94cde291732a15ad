"""Run one graph over the cells of a sweep: one for each combination of values on its axes.

What cells have in common is computed once, since they share one engine's caches. The order in
which cells run keeps it in memory: the axis that changes most of the graph changes least often.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ..errors import FormatError, GraphError, LatentloomError
from ..files.workspace import Workspace
from ..graph.axes import Axis, count_cells, set_values
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from .events import OnEvent
from .executor import Engine
from .item import Item
from .item_memory import forget_values
from .items import ItemOutcome, ItemRunner
from .plan import Plan
from .scores import targets_with_scores
from .together import Gain

PROGRESS_FILE = ".latentloom-sweep.jsonl"
PREFIX = "filename_prefix"
MAX_LABEL = 100
# Cells whose equal work is computed together.
WINDOW = 16


@dataclass(frozen=True)
class Cell:
    """One combination of values.

    Attributes:
        index: its position of the axes, the last one fastest.
        values: as texts, by the name of each axis.
        settings: the value on each axis.
    """

    index: int
    values: Mapping[str, str]
    settings: tuple[Any, ...] = ()

    @property
    def label(self) -> str:
        """The values in a form for names of files, such as `denoise=0.4,seed=2`."""
        text = ",".join(f"{short_name(name, self.values)}={v}" for name, v in self.values.items())
        return re.sub(r"[^\w.,=+-]", "-", text)[:MAX_LABEL]


@dataclass(frozen=True, kw_only=True)
class CellResult(ItemOutcome):
    """The outcome of one cell."""

    cell: Cell


@dataclass(frozen=True)
class SweepPlan:
    """The work of a sweep before it runs.

    Attributes:
        cells: number of cells, of which `finished` were done by an earlier sweep.
        nodes: number of node calls, and `unshared`, those of separate runs without caches.
        seconds: of these calls by their last durations; None if one is unknown.
    """

    cells: int
    finished: int
    nodes: int
    unshared: int
    seconds: float | None


class Sweep:
    """The cells of a sweep, in the order in which they run.

    Args:
        axes: at least one, with at least one value each.
        zipped: move all axes together, value by value, instead of combining them.
        batches: compute equal-shape samplings of several cells as one batch; see `together`.

    Raises:
        FormatError: there are no values or too many cells, or axes that move together differ
            in length.
        GraphError: there is no input that an axis names.
    """

    def __init__(
        self,
        engine: Engine,
        workspace: Workspace,
        graph: Graph,
        axes: Sequence[Axis],
        zipped: bool = False,
        batches: bool = True,
    ) -> None:
        self.axes, self.zipped = tuple(axes), zipped
        self._engine, self._graph = engine, graph
        specs = (engine.registry.get(node.type) for node in graph.nodes.values())
        self._batches = batches and any(spec is not None and spec.together for spec in specs)
        count_cells(self.axes, zipped)
        files = workspace.granted.union(*(axis.files for axis in self.axes))
        self.workspace = replace(workspace, granted=files)
        self.cells = _cells(self.axes, zipped)
        self._runner = ItemRunner(engine, workspace.output_dir / PROGRESS_FILE)
        self._changing = self._find_changing(zipped)
        if not zipped:
            self.cells = self._ordered()
        self._last_uses: dict[frozenset[str], dict[tuple[str, ...], int]] = {}

    def plan(self) -> SweepPlan:
        """Return what `run` will do; equal nodes of several cells count once."""
        finished, unshared, calls = 0, 0, dict[str, float | None]()
        for cell in self.cells:
            try:
                plan = self._plan(self._prepare(cell))
            except GraphError:
                continue  # `run` marks this cell as failed
            if self._runner.is_finished(plan):
                finished += 1
                continue
            steps = [step for step in plan.nodes.values() if step.action != "skip"]
            unshared += len(steps)
            calls |= {step.key: step.seconds for step in steps if step.action == "run"}
        known = [seconds for seconds in calls.values() if seconds is not None]
        total = math.fsum(known) if len(known) == len(calls) else None
        return SweepPlan(len(self.cells), finished, len(calls), unshared, total)

    def run(
        self, on_event: OnEvent | None = None, cancel: CancelToken | None = None
    ) -> Iterator[CellResult]:
        """Run the cells, and yield the outcome of each as it ends; a failed one stops nothing.

        Args:
            cancel: stops the current cell, and leaves out the rest.

        Raises:
            OSError: the progress file cannot be written.
        """
        token = cancel or CancelToken()
        try:
            for start in range(0, len(self.cells), WINDOW):
                cells = self.cells[start : start + WINDOW]
                made = [self._make_item(start + n, cell) for n, cell in enumerate(cells)]
                if self._batches:
                    items = [item for item in made if isinstance(item, Item)]
                    self._runner.compute_together(items, token)
                for cell, item in zip(cells, made, strict=True):
                    if token.is_set():
                        return
                    if isinstance(item, Item):
                        outcome = self._runner.run(item, on_event, token)
                        yield CellResult(**vars(outcome), cell=cell)
                    else:
                        yield CellResult(state="failed", errors=(item,), cell=cell)
        finally:
            self._runner.close()

    @property
    def gain(self) -> Gain:
        """The effect of computing cells together, so far."""
        return self._runner.gain

    def _make_item(self, index: int, cell: Cell) -> Item | LatentloomError:
        """Return the item of a cell, or why there is none."""
        try:
            graph = self._prepare(cell)
        except (GraphError, FormatError) as error:
            forget_values(error)
            return error
        return Item(
            index=index,
            name=cell.label,
            graph=graph,
            workspace=self.workspace,
            last_use=lambda id: self._last_use(id, cell),
        )

    def _prepare(self, cell: Cell) -> Graph:
        """Return the graph of a cell, whose files are named by its values."""
        graph = set_values(self._graph, self.axes, cell.settings)
        for id, node in graph.nodes.items():
            prefix = node.inputs.get(PREFIX)
            if isinstance(prefix, str):
                graph = graph.set(f"{id}.{PREFIX}", f"{prefix}_{cell.label}")
        return graph

    def _find_changing(self, zipped: bool) -> dict[str, frozenset[str]]:
        """Return the ids of the nodes that each axis changes; all move as one if zipped."""
        first = self.cells[0].settings
        base = self._keys(first)
        changed: dict[str, frozenset[str]] = {}
        for index, axis in enumerate(self.axes):
            if len(axis.values) < 2:
                continue
            other = (*first[:index], axis.values[1], *first[index + 1 :])
            keys = self._keys(self.cells[1].settings if zipped else other)
            changed[axis.name] = frozenset(id for id, key in base.items() if keys.get(id) != key)
        return changed

    def _ordered(self) -> tuple[Cell, ...]:
        """Return the cells with the axes that change most nodes outermost."""
        order = sorted(self._changing, key=lambda name: -len(self._changing[name]))
        ranks = {axis.name: {v: i for i, v in enumerate(axis.texts)} for axis in self.axes}
        return tuple(
            sorted(
                self.cells,
                key=lambda cell: [ranks[name][cell.values[name]] for name in order],
            )
        )

    def _last_use(self, id: str, cell: Cell) -> int:
        """Return the position of the last cell in which a node has the key of this cell."""
        axes = frozenset(name for name, ids in self._changing.items() if id in ids)
        if axes not in self._last_uses:
            self._last_uses[axes] = {
                _values(other, axes): index for index, other in enumerate(self.cells)
            }
        return self._last_uses[axes][_values(cell, axes)]

    def _plan(self, graph: Graph) -> Plan:
        targets = targets_with_scores(graph, self._engine.registry)
        return self._engine.plan(graph, self.workspace, targets)

    def _keys(self, settings: Sequence[Any]) -> dict[str, str]:
        """Return the key of each node; none for a cell that cannot run, which `run` reports."""
        graph = set_values(self._graph, self.axes, settings)
        try:
            plan = self._plan(graph)
        except GraphError:
            return {}
        return {id: step.key for id, step in plan.nodes.items()}


def short_name(target: str, targets: Mapping[str, str]) -> str:
    """Return the last part of a target if no other one ends so, else the target."""
    name = target.rpartition(".")[2]
    return name if sum(other.rpartition(".")[2] == name for other in targets) == 1 else target


def _cells(axes: Sequence[Axis], zipped: bool) -> tuple[Cell, ...]:
    columns = [list(zip(axis.texts, axis.values, strict=True)) for axis in axes]
    rows = zip(*columns, strict=True) if zipped else product(*columns)
    names = [axis.name for axis in axes]
    return tuple(
        Cell(
            index,
            dict(zip(names, (text for text, _ in row), strict=True)),
            tuple(value for _, value in row),
        )
        for index, row in enumerate(rows)
    )


def _values(cell: Cell, targets: frozenset[str]) -> tuple[str, ...]:
    """Return the values of a cell on some axes."""
    return tuple(value for target, value in cell.values.items() if target in targets)
