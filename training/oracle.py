"""Judges a picture without a network: which colours, which shape, where.

Meant for one object on a plain ground, as the evaluation prompts ask for. It scores true
renders at 99 % or better (a test), so what it finds wrong is the model's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.render import to_array
from training.scenes import COLOURS, SHAPES, Scene, Thing, contrasting
from training.shapes import OUTLINES, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = tuple(COLOURS)
BORDER = 6


@dataclass(frozen=True)
class Verdict:
    """What the oracle sees; colour and shape are "" if nothing stands out."""

    ground: str
    colour: str = ""
    shape: str = ""
    overlap: float = 0.0
    x: float = 0.5
    y: float = 0.5


@dataclass(frozen=True)
class Task:
    """A prompt with the scene it asks for."""

    prompt: str
    scene: Scene


def make_tasks(count: int, seed: int = 5) -> list[Task]:
    """Prompts for one big object on a plain ground, every shape in turn."""
    dice, tasks = random.Random(seed), []
    for index in range(count):
        ground = dice.choice(NAMES)
        thing = Thing(dice.choice(contrasting(ground)), SHAPES[index % len(SHAPES)])
        prompt = (
            f"a big {thing.colour} {thing.shape} in the center on "
            f"{'an' if ground == 'orange' else 'a'} {ground} background, flat style"
        )
        tasks.append(Task(prompt, Scene((thing,), ground, seed=seed * 1000 + index)))
    return tasks


def nearest_colour(colour: NDArray[np.float64]) -> str:
    """The named colour closest in RGB."""
    known = np.array(list(COLOURS.values()), float)
    return NAMES[int(((known - colour) ** 2).sum(1).argmin())]


def judge(picture: Image.Image) -> Verdict:
    """Look at a picture of one object on a plain ground."""
    pixels = to_array(picture).astype(float)
    ground = _ground_colour(pixels)
    distance = np.sqrt(((pixels - ground) ** 2).sum(2))
    mask = distance > max(35, 0.5 * np.percentile(distance, 98))
    if mask.sum() < 60:
        return Verdict(nearest_colour(ground))
    # The pixels furthest from the ground: neither soft outlines nor the door of a house.
    core = mask & (distance >= np.percentile(distance[mask], 30))
    shape, overlap = _best_shape(mask)
    rows, columns = np.where(mask)
    height, width = mask.shape
    return Verdict(
        nearest_colour(ground),
        nearest_colour(np.median(pixels[core], 0)),
        shape,
        overlap,
        float(columns.mean() / width),
        float(rows.mean() / height),
    )


def _ground_colour(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = (pixels[:BORDER], pixels[-BORDER:], pixels[:, :BORDER], pixels[:, -BORDER:])
    colour: NDArray[np.float64] = np.median(
        np.concatenate([edge.reshape(-1, 3) for edge in edges]), 0
    )
    return colour


def _best_shape(mask: NDArray[np.bool_]) -> tuple[str, float]:
    seen = _fit(mask)
    overlaps = {
        name: float((seen & shape).sum() / max(1, (seen | shape).sum()))
        for name, shape in _silhouettes().items()
    }
    best = max(overlaps, key=lambda name: overlaps[name])
    return best, overlaps[best]


def _fit(mask: NDArray[np.bool_], side: int = 32) -> NDArray[np.bool_]:
    """The mask's content, centred and scaled to side×side."""
    rows, columns = np.where(mask)
    top, bottom = np.percentile(rows, (1, 99))
    left, right = np.percentile(columns, (1, 99))
    half, x, y = (max(bottom - top, right - left) + 1) / 2, (left + right) / 2, (top + bottom) / 2
    box = (x - half, y - half, x + half, y + half)
    fitted = Image.fromarray(mask.astype(np.uint8) * 255).transform(
        (side, side), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(fitted) > 127


@cache
def _silhouettes() -> dict[str, NDArray[np.bool_]]:
    shapes = {}
    for name, outline in OUTLINES.items():
        picture = Image.new("L", (256, 256))
        ImageDraw.Draw(picture).polygon(place(outline, 128, 128, 84), fill=255)
        shapes[name] = _fit(np.asarray(picture) > 127)
    return shapes
