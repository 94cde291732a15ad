"""Measures the exported models against their bars and writes the table down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from training.export import MODEL
from training.judging.drawing import (
    measure_craft,
    measure_crowds,
    measure_filling,
    measure_margins,
    measure_shapes,
)
from training.judging.figures import as_table, write_table
from training.judging.measures import (
    measure_adapter,
    measure_autoencoder,
    measure_changes,
    measure_control,
    measure_ladder,
    measure_oracle,
    measure_pace,
    measure_pairs,
    measure_sheets,
    measure_views,
)
from training.judging.studio import open_studio

if TYPE_CHECKING:
    from pathlib import Path

    from training.presets import Counts

DOCUMENT = "README.md"


def evaluate(models: Path, counts: Counts) -> bool:
    """Print every figure, write the table into `demo/README.md`, and say if all bars hold."""
    studio = open_studio(models)
    figures = [
        *measure_oracle(counts.oracle),
        *measure_autoencoder(models / MODEL, counts.scenes, counts.textures),
        *measure_sheets(studio, counts.sheets),
        *measure_pairs(studio, counts.pairs),
        *measure_views(studio, counts.views),
        *measure_craft(studio, counts.craft),
        *measure_shapes(studio, counts.shapes),
        *measure_crowds(studio, counts.crowds),
        *measure_ladder(studio, counts.sources),
        *measure_changes(studio, counts.changes),
        *measure_filling(studio, counts.fillings),
        *measure_margins(studio, counts.margins),
        *measure_control(studio, counts.traced),
        *measure_adapter(studio, counts.toned),
        *measure_pace(studio),
    ]
    Console().print(as_table(figures))
    write_table(figures, models / MODEL / DOCUMENT)
    return all(figure.reached for figure in figures)
