"""Draws a scene: Scene -> RGB picture. The same scene gives the same bytes."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.scenes import COLOURS, Scene, Thing
from training.shapes import DOOR, OUTLINES, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
SUPERSAMPLE = 2


def render(scene: Scene, size: int = 128) -> Image.Image:
    """Draw a scene as a square RGB picture of `size` pixels."""
    dice = random.Random(scene.seed)
    picture = _draw_ground(scene, dice, size * SUPERSAMPLE)
    draw = ImageDraw.Draw(picture)
    for thing in scene.things:
        _draw_thing(draw, thing, _shade(thing.colour, dice), size * SUPERSAMPLE)
    picture = picture.resize((size, size), Image.Resampling.BOX)
    if scene.style == "watercolor":
        return _watercolour(picture, np.random.default_rng(scene.seed))
    if scene.style == "night":
        return _night(picture, dice)
    return picture


def to_array(picture: Image.Image) -> NDArray[np.uint8]:
    """H×W×3 bytes of a picture."""
    return np.asarray(picture.convert("RGB"), np.uint8)


def smooth_noise(generator: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """size×size noise in 0..1 that varies over a grid of `cells`."""
    coarse = Image.fromarray(generator.integers(0, 256, (cells, cells), np.uint8))
    smooth = coarse.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / np.float32(255)


def _shade(name: str, dice: random.Random) -> Colour:
    red, green, blue = (max(0, min(255, v + dice.randint(-12, 12))) for v in COLOURS[name])
    return red, green, blue


def _draw_ground(scene: Scene, dice: random.Random, size: int) -> Image.Image:
    first = _shade(scene.colour, dice)
    second = _shade(scene.second, dice) if scene.second else first
    if scene.ground == "gradient":
        share = np.linspace(0, 1, size)[:, None]
        column = np.array(first) * (1 - share) + np.array(second) * share
        rows = np.broadcast_to(column[:, None, :], (size, size, 3))
        return Image.fromarray(rows.astype(np.uint8))
    picture = Image.new("RGB", (size, size), first)
    if scene.ground == "land":
        level, swing = dice.uniform(0.58, 0.68) * size, dice.uniform(-0.04, 0.04) * size
        hill = [(x * size / 16, level + swing * math.sin(x / 4)) for x in range(17)]
        ImageDraw.Draw(picture).polygon([*hill, (size, size), (0, size)], fill=second)
    return picture


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing, colour: Colour, size: int) -> None:
    x, y, half = thing.x * size, thing.y * size, thing.half * size
    draw.polygon(place(OUTLINES[thing.shape], x, y, half), fill=colour)
    if thing.shape == "house":
        red, green, blue = (int(v * 0.45) for v in colour)
        door = (red, green, blue) if sum(colour) > 150 else (120, 120, 120)
        draw.polygon(place(DOOR, x, y, half), fill=door)


def _night(picture: Image.Image, dice: random.Random) -> Image.Image:
    """Dim and bluish, with a few stars at least two pixels wide."""
    pixels = np.asarray(picture, np.float32) * np.array([0.42, 0.45, 0.62], np.float32)
    dark = Image.fromarray((pixels + np.array([0, 2, 18], np.float32)).astype(np.uint8))
    draw, size = ImageDraw.Draw(dark), picture.width
    for _ in range(12):
        x, y = dice.randrange(size), dice.randrange(int(size * 0.9))
        # Stars keep to the margins, so that they do not cut the outlines.
        if min(x, y, size - x) < 0.16 * size:
            width = dice.choice((1, 2))
            draw.rectangle((x, y, x + width, y + width), fill=(255, 255, 245))
    return dark


def _watercolour(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Wobbly, soft outlines, and a pale wash that varies over the paper."""
    size = picture.width
    pixels = np.asarray(picture, np.uint8)
    rows, columns = np.mgrid[0:size, 0:size]
    shift_x, shift_y = ((smooth_noise(generator, size, 9) - 0.5) * 8 for _ in range(2))
    rows = np.clip(rows + shift_y, 0, size - 1).astype(int)
    columns = np.clip(columns + shift_x, 0, size - 1).astype(int)
    soft = Image.fromarray(pixels[rows, columns]).filter(ImageFilter.GaussianBlur(1.4))
    wash = 0.55 * smooth_noise(generator, size, 7) + 0.45 * smooth_noise(generator, size, 12)
    share = (0.15 + 0.5 * np.clip(wash - 0.25, 0, 1))[..., None]
    blurred = np.asarray(soft, np.float32)
    return Image.fromarray((blurred + (255 - blurred) * share).clip(0, 255).astype(np.uint8))
