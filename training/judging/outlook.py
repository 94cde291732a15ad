"""Reads season and hour from a landscape, by the colours of its sky and its ground."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from training.world.colours import COLOURS, HOURS, SEASONS
from training.world.render import render, to_array
from training.world.scenes import LAND_COLOURS, STYLES, Landscape, Thing, sample_landscape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

LOOKS = tuple(product(SEASONS, HOURS, STYLES))
STRIP = 0.1
# Renders of each look that its typical colours are taken from; no training or judging seed.
EXAMPLES = range(30_000_000, 30_000_012)


def read_outlook(image: Image.Image) -> tuple[str, str]:
    """The season and the hour whose typical colours are nearest."""
    away = ((_typical() - _colours(image)) ** 2).sum(1)
    season, hour, _style = LOOKS[int(away.argmin())]
    return season, hour


def read_colour(image: Image.Image, thing: Thing) -> str:
    """The colour of a thing in a landscape by day: the one most pixels near its place have."""
    pixels = to_array(image).astype(float)
    side = len(pixels)
    rows = slice(int((thing.y - 0.2) * side), int((thing.y + 0.2) * side))
    columns = slice(max(0, int((thing.x - 0.24) * side)), int((thing.x + 0.24) * side))
    near = pixels[rows, columns].reshape(-1, 1, 3)
    known = np.array([COLOURS[name] for name in LAND_COLOURS], float)
    distance = np.sqrt(((near - known) ** 2).sum(2))
    counts = (distance < 45).sum(0)
    return LAND_COLOURS[int(counts.argmax())]


def _colours(image: Image.Image) -> NDArray[np.float64]:
    """The usual colour of the topmost and of the lowest rows: six numbers."""
    pixels = to_array(image).astype(float)
    rows = int(STRIP * len(pixels))
    strips = (pixels[:rows], pixels[-rows:])
    return np.concatenate([np.median(strip.reshape(-1, 3), 0) for strip in strips])


@cache
def _typical() -> NDArray[np.float64]:
    rows = []
    for season, hour, style in LOOKS:
        scenes = [
            replace(_example(seed), season=season, hour=hour, style=style) for seed in EXAMPLES
        ]
        rows.append(np.mean([_colours(render(scene)) for scene in scenes], 0))
    return np.array(rows)


def _example(seed: int) -> Landscape:
    return sample_landscape(random.Random(seed), seed)
