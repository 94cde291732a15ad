"""The results of a sweep as files: a table, a list for programs, and pages of the images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from latentloom.engine.execution.environment import PROGRAM_VERSION
from latentloom.engine.execution.sweep import CellResult
from latentloom.engine.execution.sweep_table import SweepTable, file_names
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.formats.contact_sheet import SheetCell, draw_sheet

from .sweep_page import write_pages


def write_results(folder: Path, title: str, table: SweepTable) -> list[Path]:
    """Write the results of a sweep, and return the paths of the files.

    These are `sweep.csv`, `sweep.json`, pages `sweep.html`, `sweep-2.html` and so on, and contact
    sheets `sweep.png`, `sweep-2.png` and so on.

    Args:
        folder: the output folder, which holds the images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, manifest = folder / "sweep.csv", folder / "sweep.json"
    with rows.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(_lines(table, folder))
    pages, sheets = write_pages(folder, title, table), _write_sheets(folder, title, table)
    content = table_to_object(table, title, folder) | {"sheets": [path.name for path in sheets]}
    manifest.write_text(f"{json.dumps(content, indent=2)}\n", encoding="utf-8")
    return [rows, manifest, *pages, *sheets]


def _write_sheets(folder: Path, title: str, table: SweepTable) -> list[Path]:
    """Write the contact sheets; return their paths."""
    cells = [
        SheetCell(
            values=tuple(result.cell.values.values()),
            image=next(filter(is_image_name, result.saved), None),
            problem=_problem(result),
            is_best=result in table.best,
        )
        for result in table.results
    ]
    sheets = []
    names = [axis.name for axis in table.axes]
    for number, page in enumerate(draw_sheet(title, names, cells, not table.zipped), start=1):
        sheets.append(folder / ("sweep.png" if number == 1 else f"sweep-{number}.png"))
        sheets[-1].write_bytes(page)
    return sheets


def _problem(result: CellResult) -> str:
    """Return why a cell has no image; empty if nothing failed."""
    if result.state not in ("failed", "cancelled"):
        return ""
    reasons = [str(error).partition("\n")[0] for error in result.errors]
    return ": ".join([result.state, *reasons])


def table_to_object(table: SweepTable, title: str, folder: Path) -> dict[str, Any]:
    """Return the manifest of a sweep: its axes, its cells, and the best of them."""
    ranking = table.ranking
    best = [dict(result.cell.values) for result in table.best]
    return {
        "latentloom_sweep": 1,
        "program": PROGRAM_VERSION,
        "title": title,
        "zip": table.zipped,
        "axes": [{"input": axis.name, "values": list(axis.texts)} for axis in table.axes],
        "best": {"of": ranking.text, "cells": best} if ranking is not None else None,
        "cells": [_cell_to_object(result, table, folder) for result in table.results],
    }


def _cell_to_object(result: CellResult, table: SweepTable, folder: Path) -> dict[str, Any]:
    return {
        "values": dict(result.cell.values),
        "state": result.state,
        "files": file_names(result, folder),
        "seconds": round(result.seconds, 3),
        "model_calls": result.model_calls,
        "scores": dict(result.scores),
        "value": table.value(result),
        "errors": [str(error) for error in result.errors],
    }


def _lines(table: SweepTable, folder: Path) -> list[list[Any]]:
    """Return the head of the table and its rows; a cell without a score has an empty field."""
    names = [axis.name for axis in table.axes]
    value = ["value"] if table.ranking is not None else []
    head = [*names, "state", "seconds", "model calls", *table.columns, *value, "file"]
    lines: list[list[Any]] = [head]
    for result in table.results:
        scores = [result.scores.get(name, "") for name in table.columns]
        ranked = table.value(result)
        lines.append([
            *(result.cell.values[name] for name in names),
            result.state,
            f"{result.seconds:.3f}",
            result.model_calls,
            *(f"{score:.6g}" if score != "" else "" for score in scores),
            *(["" if ranked is None else f"{ranked:.6g}"] if value else []),
            " ".join(file_names(result, folder)),
        ])  # fmt: skip
    return lines
