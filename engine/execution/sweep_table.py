"""The results of a sweep as a table: a row for each cell, with its values, outcome and scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .scores import Ranking
from .sweep import Axis, CellResult

BEST = 5


class SweepTable:
    """The outcomes of cells in the order of the axes, ranked by an expression if there is one.

    Attributes:
        axes: of the sweep.
        results: one for each cell that has an outcome.
        columns: the scores that at least one cell has.
        best: at most five cells of the highest value, the best first.
    """

    def __init__(
        self, axes: Sequence[Axis], results: Iterable[CellResult], ranking: Ranking | None = None
    ) -> None:
        self.axes, self.ranking = tuple(axes), ranking
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
        row: dict[str, Any] = {axis.target: result.cell.values[axis.target] for axis in self.axes}
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


def file_names(result: CellResult, folder: Path) -> list[str]:
    """Return the files of a cell, named from a folder."""
    return [Path(os.path.relpath(path, folder)).as_posix() for path in result.saved]
