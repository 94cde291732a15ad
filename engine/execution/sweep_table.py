"""The results of a sweep: as they come, and as a table with values, outcomes and scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..node.cancel import CancelToken
from .events import OnEvent
from .scores import Ranking
from .sweep import CellResult, Sweep

if TYPE_CHECKING:
    import pandas

BEST = 5
OUTCOME = ("state", "seconds", "model_calls", "value", "files", "errors")


class SweepTable:
    """The outcomes of cells in the order of the axes, ranked by an expression if there is one.

    Attributes:
        axes: of the sweep.
        results: one for each cell that has an outcome.
        columns: the scores that at least one cell has.
        zipped: the axes move together.
        best: at most five cells of the highest value, the best first.
    """

    def __init__(
        self, sweep: Sweep, results: Iterable[CellResult], ranking: Ranking | None = None
    ) -> None:
        self.axes, self.zipped, self.ranking = sweep.axes, sweep.zipped, ranking
        self.results = tuple(sorted(results, key=lambda result: result.cell.index))
        self.columns = tuple(dict.fromkeys(name for row in self.results for name in row.scores))
        values = {row.cell.index: self.value(row) for row in self.results}
        ranked = [row for row in self.results if values[row.cell.index] is not None]
        ranked.sort(key=lambda row: -(values[row.cell.index] or 0.0))
        self.best = tuple(ranked[:BEST])

    def value(self, result: CellResult) -> float | None:
        """Return the value of a cell by the ranking; None if it has none."""
        return self.ranking.value(result.scores) if self.ranking is not None else None

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        """Return a row for each cell: values by axis, outcome, scores, value, and files.

        Args:
            folder: files are named from it.
        """
        return [self._row(result, folder) for result in self.results]

    def _row(self, result: CellResult, folder: Path) -> dict[str, Any]:
        names = (axis.name for axis in self.axes)
        row: dict[str, Any] = {
            f"input {name}" if name in OUTCOME else name: value
            for name, value in zip(names, result.cell.settings, strict=True)
        }
        row |= {
            "state": result.state,
            "seconds": round(result.seconds, 3),
            "model_calls": result.model_calls,
        }
        row |= {name: result.scores.get(name) for name in self.columns}
        if self.ranking is not None:
            row["value"] = self.value(result)
        row["files"] = file_names(result, folder)
        return row | {"errors": [str(error) for error in result.errors]}


class SweepRun:
    """A sweep from a program: iterating over it runs the cells, and yields their outcomes.

    `result["decode"]` has the outputs of a node until the next cell runs.
    """

    def __init__(
        self,
        sweep: Sweep,
        ranking: Ranking | None = None,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        self._sweep, self._ranking = sweep, ranking
        self._on_event, self._cancel = on_event, cancel
        self._results: dict[int, CellResult] = {}

    def __len__(self) -> int:
        return len(self._sweep.cells)

    def __iter__(self) -> Iterator[CellResult]:
        for result in self._sweep.run(self._on_event, self._cancel):
            self._results[result.cell.index] = result.without_values()
            yield result

    @property
    def best(self) -> tuple[CellResult, ...]:
        """The best cells so far, at most five, the best first; none without an expression."""
        return self._table().best

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each cell that has run: values, outcome, scores, value and files."""
        return self._table().rows(self._sweep.workspace.output_dir)

    def frame(self) -> pandas.DataFrame:
        """Return the table as a frame of pandas.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        return pandas.DataFrame(self.table)

    def _table(self) -> SweepTable:
        return SweepTable(self._sweep, self._results.values(), self._ranking)


def file_names(result: CellResult, folder: Path) -> list[str]:
    """Return the files of a cell, named from a folder."""
    return [Path(os.path.relpath(path, folder)).as_posix() for path in result.saved]
