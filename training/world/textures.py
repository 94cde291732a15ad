"""Dead leaves: overlapping random patches with the statistics of photographs.

A share of them in the autoencoder's pool is what lets users' own images survive it.
"""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.world.paint import smooth_noise
from training.world.scenes import SIZE


def dead_leaves(seed: int, size: int = SIZE) -> Image.Image:
    """The texture of a seed, size×size RGB; its leaves grow with the size."""
    dice, generator = random.Random(seed), np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), _any_colour(dice))
    draw = ImageDraw.Draw(image)
    for _ in range(dice.choice((20, 60, 150))):
        _draw_leaf(draw, dice, size)
    pixels = np.asarray(image, np.float32)
    if dice.random() < 0.5:
        grain = smooth_noise(generator, size, dice.choice((4, 8, 16, 40)))
        pixels = pixels + (grain[..., None] - 0.5) * dice.uniform(10, 120)
    if dice.random() < 0.4:
        pixels = pixels * (0.6 + 0.4 * smooth_noise(generator, size, 3))[..., None]
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if dice.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(dice.uniform(0.5, 2.5) * size / 128))
    return image


def _any_colour(dice: random.Random) -> tuple[int, int, int]:
    return dice.randrange(256), dice.randrange(256), dice.randrange(256)


def _draw_leaf(draw: ImageDraw.ImageDraw, dice: random.Random, size: int) -> None:
    # Sizes follow a power law, as the sizes of things in photographs do.
    unit = size / 128
    reach = min(size * 0.4, 3 * unit / (dice.random() + 0.02) ** 1.2)
    x, y, colour, kind = (
        dice.random() * size,
        dice.random() * size,
        _any_colour(dice),
        dice.random(),
    )
    if kind < 0.5:
        height = reach * dice.uniform(0.4, 1)
        draw.ellipse((x - reach, y - height, x + reach, y + height), fill=colour)
    elif kind < 0.8:
        corners = dice.choice((3, 4))
        points = [
            (x + dice.uniform(-reach, reach), y + dice.uniform(-reach, reach))
            for _ in range(corners)
        ]
        draw.polygon(points, fill=colour)
    else:
        end = (x + dice.uniform(-60, 60) * unit, y + dice.uniform(-60, 60) * unit)
        draw.line((x, y, *end), fill=colour, width=round(dice.choice((1, 2, 3)) * unit))
