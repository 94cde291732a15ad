"""Measured values with their bars, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from training.world.render import to_array

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Figure:
    """One measured value, told only or with a bar: `floor` the least, `ceiling` the most."""

    name: str
    value: float
    unit: str = ""
    floor: float | None = None
    ceiling: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the value is good enough."""
        low = self.floor is None or self.value >= self.floor
        return low and (self.ceiling is None or self.value <= self.ceiling)

    @property
    def bar(self) -> str:
        """The bar in words; "" without one."""
        if self.floor is not None:
            return f"at least {self.floor:g} {self.unit}".strip()
        return "" if self.ceiling is None else f"at most {self.ceiling:g} {self.unit}".strip()

    @property
    def measured(self) -> str:
        """The value with its unit."""
        return f"{self.value:.{1 if self.unit == '%' else 2}f} {self.unit}".strip()


def share(right: Iterable[bool]) -> float:
    """How many are right, in percent."""
    return 100 * float(np.mean(list(right)))


def distance(one: Image.Image, other: Image.Image) -> float:
    """Root mean square difference of two images, 0..255."""
    difference = to_array(one).astype(float) - to_array(other).astype(float)
    return float(np.sqrt((difference**2).mean()))


def as_table(figures: Sequence[Figure]) -> Table:
    """The figures for the console."""
    table = Table("what", "measured", "bar", "")
    for figure in figures:
        mark = "" if not figure.bar else ("ok" if figure.reached else "MISSED")
        table.add_row(figure.name, figure.measured, figure.bar, mark)
    return table


def write_table(figures: Sequence[Figure], document: Path) -> None:
    """Put the table between the marks in a document; one without them is written anew."""
    text = document.read_text() if document.is_file() else ""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        before, after = "", "\n"
    document.write_text(f"{before}{BEGIN}\n\n{as_markdown(figures)}\n{END}{after}")


def as_markdown(figures: Sequence[Figure]) -> str:
    """The figures for a document."""
    rows = [f"| {figure.name} | {figure.measured} | {figure.bar} |\n" for figure in figures]
    return "".join(["| what | measured | bar |\n|---|---|---|\n", *rows])
