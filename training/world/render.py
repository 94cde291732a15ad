"""Draws a scene: Scene -> RGB image. The same scene gives the same bytes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.world.colours import COLOURS, Colour, clip
from training.world.landscape import draw_landscape
from training.world.paint import SUPERSAMPLE, Brush, watercolour
from training.world.scenes import SIZE, Scene, Sheet

if TYPE_CHECKING:
    from numpy.typing import NDArray


def render(scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw a scene as a square RGB image of `size` pixels."""
    brush = Brush(size * SUPERSAMPLE, scene.style == "ink")
    if isinstance(scene, Sheet):
        _draw_sheet(brush, scene)
    else:
        draw_landscape(brush, scene)
    image = brush.image.reduce(SUPERSAMPLE)
    if scene.style == "watercolor":
        return watercolour(image, np.random.default_rng(scene.seed))
    return image


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """H×W×3 bytes of an image."""
    return np.asarray(image.convert("RGB"), np.uint8)


def _draw_sheet(brush: Brush, scene: Sheet) -> None:
    dice = random.Random(scene.seed)
    brush.fill(_shade(COLOURS[scene.ground], dice))
    for thing in scene.things:
        brush.thing(thing, _shade(COLOURS[thing.colour], dice))


def _shade(colour: Colour, dice: random.Random) -> Colour:
    return clip(tuple(v + dice.randint(-6, 6) for v in colour))
