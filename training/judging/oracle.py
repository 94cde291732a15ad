"""Judges a sheet without a network: which colours, which kind of thing, where.

Meant for one object on a plain ground, as the evaluation prompts ask for. It scores true
renders at 99 % or better (a test), so what it finds wrong is the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from training.world.colours import COLOURS, shaded
from training.world.render import to_array
from training.world.shapes import THINGS, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = tuple(COLOURS)
BORDER = 6
CLOSING = 2
# What is far enough from the ground to be the thing, as shares of the furthest colours'
# distance. Faint parts count at the first, the blur in narrow gaps does not at the last; the
# outline that fits a silhouette best is taken.
THRESHOLDS = (0.3, 0.45, 0.6)


@dataclass(frozen=True)
class Verdict:
    """What the oracle sees; colour and kind are "" if nothing stands out."""

    ground: str
    colour: str = ""
    kind: str = ""
    overlap: float = 0.0
    x: float = 0.5
    y: float = 0.5


def nearest_colour(colour: NDArray[np.float64]) -> str:
    """The named colour closest in RGB."""
    known = np.array(list(COLOURS.values()), float)
    return NAMES[int(((known - colour) ** 2).sum(1).argmin())]


def commonest_colour(pixels: NDArray[np.float64], names: Sequence[str] = NAMES) -> str:
    """The named colour that most of N×3 pixels have, bright or in its darker parts."""
    shades = [shade for name in names for shade in (COLOURS[name], shaded(COLOURS[name]))]
    away = ((pixels[:, None] - np.array(shades, float)) ** 2).sum(2)
    votes = np.bincount(away.argmin(1) // 2, minlength=len(names))
    return names[int(votes.argmax())]


def judge(image: Image.Image) -> Verdict:
    """Look at an image of one object on a plain ground."""
    pixels = to_array(image).astype(float)
    ground = _ground_colour(pixels)
    distance = np.sqrt(((pixels - ground) ** 2).sum(2))
    mask = distance > _threshold(distance, THRESHOLDS[0])
    if mask.sum() < 60:
        return Verdict(nearest_colour(ground))
    # The pixels furthest from the ground: neither soft outlines nor the door of a house.
    core = mask & (distance >= np.percentile(distance[mask], 30))
    kind, overlap = max(
        (_best_kind(distance > _threshold(distance, share)) for share in THRESHOLDS),
        key=lambda result: result[1],
    )
    rows, columns = np.where(mask)
    height, width = mask.shape
    return Verdict(
        nearest_colour(ground),
        commonest_colour(pixels[core]),
        kind,
        overlap,
        float(columns.mean() / width),
        float(rows.mean() / height),
    )


def object_mask(image: Image.Image) -> NDArray[np.bool_]:
    """Where an image differs from its ground."""
    pixels = to_array(image).astype(float)
    distance = np.sqrt(((pixels - _ground_colour(pixels)) ** 2).sum(2))
    mask: NDArray[np.bool_] = distance > _threshold(distance, THRESHOLDS[1])
    return mask


def judge_pair(image: Image.Image) -> tuple[str, str]:
    """The colours of the things in the left and in the right half."""
    width, height = image.size
    left, right = (0, 0, width // 2, height), (width // 2, 0, width, height)
    return judge(image.crop(left)).colour, judge(image.crop(right)).colour


def _ground_colour(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    edges = (pixels[:BORDER], pixels[-BORDER:], pixels[:, :BORDER], pixels[:, -BORDER:])
    colour: NDArray[np.float64] = np.median(
        np.concatenate([edge.reshape(-1, 3) for edge in edges]), 0
    )
    return colour


def _threshold(distance: NDArray[np.float64], share: float) -> float:
    return max(35.0, share * float(np.percentile(distance, 98)))


def _best_kind(mask: NDArray[np.bool_]) -> tuple[str, float]:
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
    # Narrow gaps are closed on both sides of the comparison: they are finer than latent cells.
    width = np.pad(np.asarray(fitted) > 127, CLOSING)
    closed: NDArray[np.bool_] = ndimage.binary_closing(width, iterations=CLOSING)
    return closed[CLOSING:-CLOSING, CLOSING:-CLOSING]


@cache
def _silhouettes() -> dict[str, NDArray[np.bool_]]:
    shapes = {}
    for name, parts in THINGS.items():
        image = Image.new("L", (256, 256))
        for part in parts:
            ImageDraw.Draw(image).polygon(place(part.polygon, 128, 128, 84), fill=255)
        shapes[name] = _fit(np.asarray(image) > 127)
    return shapes
