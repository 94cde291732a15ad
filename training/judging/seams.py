"""Whether what was painted anew joins what was kept: inpainting and outpainting."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from training.judging.crowd import crowd_tasks
from training.judging.tasks import landscape_tasks
from training.world.render import to_array
from training.world.scenes import SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.judging.tasks import Task
    from training.world.scenes import Landscape

# How far the mask reaches beyond the thing that is to appear, as a share of the side.
MARGIN = 0.05
# How many columns on each side of the seam are compared; those next to it are left out.
COLUMNS = 4
STRIP = SIZE // 4


@dataclass(frozen=True)
class Filling:
    """A prompt with the scene it asks for, and the scene without its first thing."""

    prompt: str
    source: Landscape
    wanted: Landscape

    @property
    def mask(self) -> Image.Image:
        """White where the thing is to appear."""
        thing = self.wanted.things[0]
        reach = 1.1 * thing.half + MARGIN
        box = [SIZE * (c + side * reach) for side in (-1, 1) for c in (thing.x, thing.y)]
        mask = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(mask).rectangle(tuple(box), fill=255)
        return mask


def fillings(count: int, seed: int = 16) -> list[Filling]:
    """Landscapes by day in which a thing is missing."""
    tasks = (task for task in crowd_tasks(4 * count, seed) if task.scene.things)
    result = [
        Filling(task.prompt, replace(task.scene, things=task.scene.things[1:]), task.scene)
        for task in tasks
        if all(t.place != task.scene.things[0].place for t in task.scene.things[1:])
    ]
    return result[:count]


def margins(count: int, seed: int = 17) -> list[Task[Landscape]]:
    """Flat landscapes of all seasons and hours that are to go on to the right."""
    tasks = [task for task in landscape_tasks(3 * count, seed) if task.scene.style == "flat"]
    return random.Random(seed).sample(tasks, min(count, len(tasks)))


def padded(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The image with a grey strip at its right, and the mask of the strip."""
    size = (image.width + STRIP, image.height)
    width, mask = Image.new("RGB", size, (128, 128, 128)), Image.new("L", size)
    width.paste(image, (0, 0))
    mask.paste(255, (image.width, 0, *size))
    return width, mask


def seam(image: Image.Image, mask: Image.Image) -> float:
    """The mean difference of neighbours across the mask's border over that inside the mask."""
    pixels, inside = to_array(image).astype(float), np.asarray(mask) > 127
    across: list[NDArray[np.float64]] = []
    within: list[NDArray[np.float64]] = []
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis)).mean(2)
        first, second = np.delete(inside, -1, axis), np.delete(inside, 0, axis)
        across.append(steps[first != second])
        within.append(steps[first & second])
    return float(np.concatenate(across).mean() / max(1.0, np.concatenate(within).mean()))


def colour_step(image: Image.Image, column: int) -> float:
    """The usual difference of a row's colours left and right of a column, in 0..255."""
    pixels = to_array(image).astype(float)
    left = pixels[:, column - COLUMNS - 1 : column - 1].mean(1)
    right = pixels[:, column + 1 : column + 1 + COLUMNS].mean(1)
    return float(np.median(np.abs(left - right).max(1)))
