"""Whether every object that a caption names is in a landscape: its kind, its colour, its side."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from training.judging.craft import shape_overlap
from training.judging.tasks import Task
from training.world.captions import describe
from training.world.colours import GROUNDS, LIGHTS, scale
from training.world.landscape import colour_of
from training.world.paint import paints_of
from training.world.render import to_array
from training.world.scenes import HELD_OUT_SEEDS, SIDES, Landscape, Thing, sample_landscape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from training.world.colours import Colour

# How far from its colour a pixel may be, and colours from each other to be told apart.
NEAR, APART = 36.0, 50.0
# The share of the image that the smallest thing, and the sun, cover at least.
MIN_COUNT, MIN_LIGHT = 0.012, 0.006
BORDERS = (1 / 3, 2 / 3)
SLACK = 0.07
KINDS = ("house", "boat", "balloon", "tree")


def crowd_tasks(count: int, seed: int = 15) -> list[Task[Landscape]]:
    """Landscapes by day with two to four objects, the sun among them, whose colours differ."""
    dice, tasks = random.Random(seed), list[Task[Landscape]]()
    for number in range(HELD_OUT_SEEDS.start + 1000 * seed, HELD_OUT_SEEDS.stop):
        if len(tasks) == count:
            break
        scene = sample_landscape(random.Random(dice.random()), number)
        scene = replace(scene, hour="day", style="flat", trees=())
        if 2 <= len(_objects(scene)) <= 4 and not _clash(scene):
            tasks.append(Task(describe(scene), scene))
    return tasks


def all_present(image: Image.Image, scene: Landscape) -> bool:
    """Whether every thing of the scene is seen, and the sun if it has one."""
    things = all(is_present(image, thing, scene) for thing in scene.things)
    return things and (scene.light is None or _has_sun(image, scene))


def is_present(image: Image.Image, thing: Thing, scene: Landscape) -> bool:
    """Whether a thing of that kind and colour stands on its side of the image."""
    blobs = _blobs(image, _paints(thing, scene), MIN_COUNT)
    return any(_is_at(blob, thing.place) and _kind_of(blob) == thing.kind for blob in blobs)


def _objects(scene: Landscape) -> list[object]:
    return [*scene.things, *([scene.light] if scene.light else [])]


def _clash(scene: Landscape) -> bool:
    """Whether a thing has the colour of another one, of the ground or of the sun."""
    soil = GROUNDS[scene.season]
    around = [soil, scale(soil, 0.88), scale(soil, 0.84), LIGHTS[scene.hour]]
    shades = [_paints(thing, scene)[:2] for thing in scene.things]
    others = [[colour] for colour in around]
    pairs = [*combinations(shades, 2), *((own, other) for own in shades for other in others)]
    return any(math.dist(a, b) < APART for one, other in pairs for a in one for b in other)


def _paints(thing: Thing, scene: Landscape) -> list[Colour]:
    """The colours that make up a thing; windows are holes in it."""
    paints = paints_of(colour_of(thing, scene), scene.hour)
    return [paints[part] for part in ("body", "dark", "door", "wood")]


def _blobs(image: Image.Image, colours: list[Colour], least: float) -> list[NDArray[np.bool_]]:
    """Connected areas of some colours, without holes, that cover enough of the image."""
    pixels = to_array(image).astype(float)
    away = np.min([np.sqrt(((pixels - colour) ** 2).sum(2)) for colour in colours], 0)
    mask = ndimage.binary_opening(ndimage.median_filter(away < NEAR, 5), iterations=1)
    labels, count = ndimage.label(ndimage.binary_closing(mask, iterations=3))
    areas = [labels == number + 1 for number in range(count)]
    return [ndimage.binary_fill_holes(area) for area in areas if area.mean() >= least]


def _is_at(blob: NDArray[np.bool_], side: str) -> bool:
    x = float(np.where(blob)[1].mean()) / blob.shape[1]
    low = (0.0, *BORDERS)[SIDES.index(side)]
    high = (*BORDERS, 1.0)[SIDES.index(side)]
    return bool(low - SLACK <= x <= high + SLACK)


def _kind_of(blob: NDArray[np.bool_]) -> str:
    return max(KINDS, key=lambda kind: shape_overlap(blob, kind))


def _has_sun(image: Image.Image, scene: Landscape) -> bool:
    blobs = _blobs(image, [LIGHTS[scene.hour]], MIN_LIGHT)
    return any(np.where(blob)[0].mean() < 0.4 * len(blob) for blob in blobs)
