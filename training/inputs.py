"""Draws the default input pictures of the example graphs: `python -m training.inputs`.

Their seeds lie in a range that training never draws from.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from training.render import render
from training.scenes import COLOURS, INPUT_SEEDS, Scene, Thing

SIZE = 128
HOUSE = Thing("red", "house", x=0.5, y=0.52, half=0.3)
HOUSE_SCENE = Scene((HOUSE,), "cyan", "land", "green", seed=INPUT_SEEDS[0])
VILLAGE_SCENE = Scene(
    (
        Thing("orange", "house", "left", "medium", 0.29, 0.54, 0.22),
        Thing("black", "tree", "right", "medium", 0.72, 0.5, 0.24),
    ),
    "pink",
    "land",
    "white",
    seed=INPUT_SEEDS[1],
)
STAR_SCENE = Scene((Thing("yellow", "star"),), "blue", style="night", seed=INPUT_SEEDS[2])


def draw_mask(thing: Thing, margin: float = 0.06) -> Image.Image:
    """White over a thing and a margin around it, black elsewhere."""
    reach = thing.half * 1.05 + margin
    box = [SIZE * (c + side * reach) for side in (-1, 1) for c in (thing.x, thing.y)]
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rounded_rectangle(tuple(box), radius=8, fill=255)
    return mask


def draw_sketch(seed: int) -> Image.Image:
    """A quick felt-pen drawing: a yellow disc in uneven strokes over a purple sheet."""
    dice = random.Random(seed)
    sheet = Image.new("RGB", (2 * SIZE, 2 * SIZE), COLOURS["purple"])
    draw = ImageDraw.Draw(sheet)
    for row in range(-7, 8):
        reach = 78 * (1 - (row / 8) ** 2) ** 0.5
        y = SIZE + row * 11 + dice.uniform(-3, 3)
        ends = (SIZE - reach + dice.uniform(-9, 9), SIZE + reach + dice.uniform(-9, 9))
        line = ((ends[0], y), (ends[1], y + dice.uniform(-6, 6)))
        draw.line(line, fill=COLOURS["yellow"], width=dice.choice((9, 11, 13)))
    return sheet.filter(ImageFilter.GaussianBlur(1)).resize((SIZE, SIZE), Image.Resampling.BOX)


def draw_inputs() -> dict[str, Image.Image]:
    """Every input picture, by file name."""
    return {
        "house.png": render(HOUSE_SCENE),
        "mask.png": draw_mask(HOUSE),
        "village.png": render(VILLAGE_SCENE),
        "star.png": render(STAR_SCENE),
        "sketch.png": draw_sketch(INPUT_SEEDS[3]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m training.inputs", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("graphs/inputs"))
    output: Path = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    for name, picture in draw_inputs().items():
        picture.save(output / name, optimize=True)
        print(output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
