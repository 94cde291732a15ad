"""Puts pictures in rows on one sheet."""

from __future__ import annotations

from PIL import Image

CELL, GAP = 128, 4


def arrange(rows: list[list[Image.Image]]) -> Image.Image:
    """The pictures in rows, brought to 128 px a side, in 256 colours."""
    width = max(len(row) for row in rows) * (CELL + GAP) - GAP
    sheet = Image.new("RGB", (width, len(rows) * (CELL + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = picture.resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (CELL + GAP), y * (CELL + GAP)))
    return sheet.quantize(256)
