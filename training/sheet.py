"""Draws models/demo/samples.png: what the model makes of prompts and of pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from training.evaluate import LADDER
from training.studio import draw_all, open_studio

CELL, GAP = 128, 4
PROMPTS = (
    "a big red house in the center on a white background, flat style",
    "a big yellow star in the center on a blue background, flat style",
    "a big green tree in the center on an orange background, flat style",
    "a big pink heart in the center on a black background, flat style",
    "a purple moon on a cyan background",
    "a blue circle on the left and a red square on the right on a white background",
    "a green tree with orange ground under a blue sky",
    "a red house with green ground under a cyan sky",
    "a big red heart on a yellow background, watercolor",
    "a yellow moon on a blue background at night",
)
CHANGES = (
    ("house.png", "a big blue tree with green ground under a cyan sky"),
    ("sketch.png", "a big red star on a white background, flat style"),
)


def arrange(rows: list[list[Image.Image]]) -> Image.Image:
    """The pictures in rows, made smaller, in 256 colours."""
    width = max(len(row) for row in rows) * (CELL + GAP) - GAP
    sheet = Image.new("RGB", (width, len(rows) * (CELL + GAP) - GAP), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            small = picture.resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(small, (x * (CELL + GAP), y * (CELL + GAP)))
    return sheet.quantize(256)


def draw_sheet(model: Path, inputs: Path) -> Image.Image:
    """Two rows of prompts, then one row for each source: the source and its changes."""
    studio = open_studio(model)
    pictures = draw_all(studio, PROMPTS)
    rows = [pictures[:5], pictures[5:]]
    for name, prompt in CHANGES:
        source = Image.open(inputs / name).convert("RGB")
        ladder = [studio.change(source, prompt, denoise, seed=1) for denoise in LADDER]
        rows.append([source, *ladder])
    return arrange(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the sheet beside the model."""
    parser = argparse.ArgumentParser(prog="python -m training.sheet", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/demo"))
    parser.add_argument("--inputs", type=Path, default=Path("graphs/inputs"))
    options = parser.parse_args(arguments)
    draw_sheet(options.model, options.inputs).save(options.model / "samples.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
