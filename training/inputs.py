"""Draws the default input pictures of the example graphs: `python -m training.inputs`.

Their seeds lie in a range that training never draws from.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from training.world.colours import COLOURS, GROUNDS, INK, Colour
from training.world.render import render
from training.world.scenes import INPUT_SEEDS, Landscape, Thing
from training.world.shapes import HOUSE, TREE, Point, place

SIZE = 128
RED_HOUSE = Thing("red", "house", "center", "", x=0.5, y=0.6, half=0.2)
HOUSE_SCENE = Landscape(
    (RED_HOUSE,), "summer", "day", back="hills", clouds=1, groves=2, horizon=0.5,
    seed=INPUT_SEEDS[2],
)  # fmt: skip
LAKE_SCENE = Landscape(
    (
        Thing("red", "boat", "left", "", x=0.3, y=0.54, half=0.19),
        Thing("", "tree", "right", "", x=0.76, y=0.71, half=0.19),
    ),
    "summer", "day", back="mountains", water=True, horizon=0.5, seed=INPUT_SEEDS[6],
)  # fmt: skip
NIGHT_SCENE = Landscape(
    (
        Thing("yellow", "house", "left", "", x=0.3, y=0.62, half=0.19),
        Thing("", "tree", "right", "", x=0.72, y=0.66, half=0.2),
    ),
    "winter", "night", back="mountains", horizon=0.52, seed=INPUT_SEEDS[4],
)  # fmt: skip


def draw_mask(thing: Thing, margin: float = 0.05) -> Image.Image:
    """White over a thing and a margin around it, black elsewhere."""
    reach = thing.half * 1.05 + margin
    box = [SIZE * (c + side * reach) for side in (-1, 1) for c in (thing.x, thing.y)]
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rounded_rectangle(tuple(box), radius=8, fill=255)
    return mask


def draw_sketch(seed: int) -> Image.Image:
    """A quick felt-pen drawing on paper: a house, a tree, hatched grass, a sun."""
    dice = random.Random(seed)
    sheet = Image.new("RGB", (2 * SIZE, 2 * SIZE), (250, 248, 240))
    draw = ImageDraw.Draw(sheet)
    _hatch(draw, dice, (0, 156, 256, 256), GROUNDS["summer"])
    _hatch(draw, dice, (0, 0, 256, 120), (120, 180, 240), gap=15)
    for parts, spot, colour in (
        (HOUSE, (84.0, 150.0, 48.0), COLOURS["yellow"]),
        (TREE, (188.0, 146.0, 52.0), COLOURS["green"]),
    ):
        for part in parts:
            outline = _shaky(dice, place(part.polygon, *spot))
            draw.polygon(outline, fill=colour if part.paint in ("body", "roof") else INK)
            draw.line([*outline, outline[0]], fill=INK, width=4)
    draw.ellipse((196, 24, 232, 60), fill=COLOURS["yellow"], outline=INK, width=4)
    return sheet.filter(ImageFilter.GaussianBlur(1)).resize((SIZE, SIZE), Image.Resampling.BOX)


def _hatch(
    draw: ImageDraw.ImageDraw,
    dice: random.Random,
    area: tuple[int, int, int, int],
    colour: Colour,
    gap: int = 10,
) -> None:
    left, top, right, bottom = area
    for y in range(top, bottom, gap):
        ends = ((left, y + dice.uniform(-4, 4)), (right, y + dice.uniform(-4, 4)))
        draw.line(ends, fill=colour, width=gap - 1)


def _shaky(dice: random.Random, points: list[Point]) -> list[Point]:
    return [(x + dice.uniform(-2.5, 2.5), y + dice.uniform(-2.5, 2.5)) for x, y in points]


def draw_inputs() -> dict[str, Image.Image]:
    """Every input picture, by file name."""
    return {
        "house.png": render(HOUSE_SCENE),
        "mask.png": draw_mask(RED_HOUSE),
        "lake.png": render(LAKE_SCENE),
        "night.png": render(NIGHT_SCENE),
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
