"""Puts images in rows on one sheet."""

from __future__ import annotations

from PIL import Image

from training.world.scenes import SIZE

GAP = 4


def arrange(rows: list[list[Image.Image]]) -> Image.Image:
    """The images in rows, brought to the native size."""
    width = max(len(row) for row in rows) * (SIZE + GAP) - GAP
    sheet = Image.new("RGB", (width, len(rows) * (SIZE + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (SIZE + GAP), y * (SIZE + GAP)))
    return sheet
