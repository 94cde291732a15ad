"""Draws the default input images of the example graphs: `python -m training.inputs`.

Their seeds lie in a range that training never draws from.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from training.world.colours import COLOURS, GROUNDS, INK, Colour, shaded
from training.world.render import render
from training.world.scenes import INPUT_SEEDS, SIZE, Landscape, Spot, Thing
from training.world.shapes import HOUSE, TREE, Point, place

# The sketch is drawn twice as large and reduced.
SKETCH = 2 * SIZE
RED_HOUSE = Thing("red", "house", "center", "", x=0.5, y=0.62, half=0.22)
HOUSE_SCENE = Landscape(
    (RED_HOUSE,), "summer", "day", back="hills", light=Spot(0.2, 0.17, 0.085),
    clouds=(Spot(0.8, 0.22, 0.12),), trees=(Spot(0.1, 0.62, 0.058), Spot(0.86, 0.63, 0.058)),
    seed=INPUT_SEEDS[2],
)  # fmt: skip
LAKE_SCENE = Landscape(
    (
        Thing("red", "boat", "left", "", x=0.28, y=0.53, half=0.21),
        Thing("", "tree", "right", "", x=0.74, y=0.69, half=0.21),
    ),
    "summer", "day", back="mountains", water=True, light=Spot(0.78, 0.17, 0.085),
    seed=INPUT_SEEDS[6],
)  # fmt: skip
NIGHT_SCENE = Landscape(
    (
        Thing("yellow", "house", "left", "", x=0.27, y=0.6, half=0.21),
        Thing("", "tree", "right", "", x=0.74, y=0.62, half=0.21),
    ),
    "winter", "night", back="mountains", light=Spot(0.75, 0.17, 0.085),
    seed=INPUT_SEEDS[4],
)  # fmt: skip


def draw_mask(thing: Thing, margin: float = 0.05) -> Image.Image:
    """White over a thing and a margin around it, black elsewhere."""
    reach = thing.half * 1.05 + margin
    box = [SIZE * (c + side * reach) for side in (-1, 1) for c in (thing.x, thing.y)]
    mask = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(mask).rounded_rectangle(tuple(box), radius=SIZE // 16, fill=255)
    return mask


def draw_sketch(seed: int) -> Image.Image:
    """A quick felt-pen drawing on paper: a house, a tree, hatched grass, a sun."""
    dice = random.Random(seed)
    sheet = Image.new("RGB", (SKETCH, SKETCH), (250, 248, 240))
    draw = ImageDraw.Draw(sheet)
    _hatch(draw, dice, (0.61, 1.0), GROUNDS["summer"])
    _hatch(draw, dice, (0.0, 0.47), (120, 180, 240), gap=0.055)
    for parts, (x, y, half), colour in (
        (HOUSE, (0.3, 0.6, 0.21), COLOURS["yellow"]),
        (TREE, (0.74, 0.57, 0.21), COLOURS["green"]),
    ):
        paints = {"body": colour, "dark": shaded(colour)}
        for part in parts:
            outline = _shaky(dice, place(part.polygon, *(v * SKETCH for v in (x, y, half))))
            draw.polygon(outline, fill=paints.get(part.paint, INK))
            draw.line([*outline, outline[0]], fill=INK, width=SKETCH // 64)
    sun = [v * SKETCH for v in (0.77, 0.07, 0.93, 0.23)]
    draw.ellipse(sun, fill=COLOURS["yellow"], outline=INK, width=SKETCH // 64)
    soft = sheet.filter(ImageFilter.GaussianBlur(SKETCH / 256))
    return soft.resize((SIZE, SIZE), Image.Resampling.BOX)


def _hatch(
    draw: ImageDraw.ImageDraw,
    dice: random.Random,
    rows: tuple[float, float],
    colour: Colour,
    gap: float = 0.04,
) -> None:
    """Draw strokes from border to border between two heights, given in shares of the side."""
    count = round((rows[1] - rows[0]) / gap)
    for k in range(count):
        left, right = ((rows[0] + k * gap + dice.uniform(-0.015, 0.015)) * SKETCH for _ in "lr")
        width = round(gap * SKETCH * 0.9)
        draw.line(((0, left), (SKETCH, right)), fill=colour, width=width)


def _shaky(dice: random.Random, points: list[Point]) -> list[Point]:
    reach = SKETCH / 150
    return [(x + dice.uniform(-reach, reach), y + dice.uniform(-reach, reach)) for x, y in points]


def draw_inputs() -> dict[str, Image.Image]:
    """Every input image, by file name."""
    return {
        "house.png": render(HOUSE_SCENE),
        "mask.png": draw_mask(RED_HOUSE),
        "lake.png": render(LAKE_SCENE),
        "night.png": render(NIGHT_SCENE),
        "sketch.png": draw_sketch(INPUT_SEEDS[3]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the images."""
    parser = argparse.ArgumentParser(prog="python -m training.inputs", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("graphs/inputs"))
    output: Path = parser.parse_args(arguments).output
    output.mkdir(parents=True, exist_ok=True)
    for name, image in draw_inputs().items():
        image.save(output / name, optimize=True)
        print(output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
