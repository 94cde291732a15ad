"""Draws how the losses fell: one panel for each stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from training.stages.stage import History, read_history

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH, HEIGHT, MARGIN, SCALE = 300, 200, 34, 2
INK, GRID, LINE = (60, 60, 70), (225, 225, 230), (40, 85, 210)


def draw_curves(run: Path, stages: Sequence[str]) -> Image.Image:
    """The smoothed loss (logarithmic) over the steps of each stage in a run folder."""
    sheet = Image.new("RGB", (WIDTH * len(stages) * SCALE, HEIGHT * SCALE), "white")
    for index, stage in enumerate(stages):
        panel = _draw_panel(stage, read_history(run, stage))
        sheet.paste(panel, (index * WIDTH * SCALE, 0))
    return sheet.resize((WIDTH * len(stages), HEIGHT), Image.Resampling.LANCZOS).quantize(32)


def _draw_panel(stage: str, history: History) -> Image.Image:
    panel = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
    draw = ImageDraw.Draw(panel)
    left, top = MARGIN * SCALE, MARGIN * SCALE
    right, bottom = (WIDTH - 10) * SCALE, (HEIGHT - 24) * SCALE
    draw.text((left, 8 * SCALE), f"{stage}, {history.done} steps", fill=INK, font_size=12 * SCALE)
    # The first steps are so much worse that they would flatten the rest.
    points = [(step, loss) for step, loss in history.losses if step >= history.done / 40]
    if len(points) < 2:
        return panel
    low, high = (math.log(f(loss for _, loss in points)) for f in (min, max))
    spread = max(high - low, 1e-6)
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        draw.line((left, y, right, y), fill=GRID, width=SCALE)
        value = f"{math.exp(low + share * spread):.3g}"
        draw.text((2 * SCALE, y - 6 * SCALE), value, fill=INK, font_size=9 * SCALE)
    curve = [
        (
            left + step / history.done * (right - left),
            bottom - (math.log(loss) - low) / spread * (bottom - top),
        )
        for step, loss in points
    ]
    draw.line(curve, fill=LINE, width=2 * SCALE, joint="curve")
    return panel
