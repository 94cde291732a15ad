"""What is measured of how well the model draws, each against its bar. Every seed is fixed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from training.judging.craft import acutance, flatness, shape_overlap
from training.judging.crowd import all_present, crowd_tasks, is_present
from training.judging.figures import Figure, share
from training.judging.oracle import object_mask
from training.judging.seams import colour_step, fillings, margins, padded, seam
from training.judging.tasks import object_tasks, sheet_tasks
from training.world.render import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from training.judging.studio import Studio


def measure_craft(studio: Studio, count: int) -> list[Figure]:
    """How sharp outlines and how flat areas are, over true renders of the same captions."""
    tasks = object_tasks(count, seed=18)
    drawn = studio.draw_all([task.prompt for task in tasks])
    true = [render(task.scene) for task in tasks]
    sharp = float(np.mean([*map(acutance, drawn)]) / np.mean([*map(acutance, true)]))
    flat = float(np.mean([*map(flatness, drawn)]) / np.mean([*map(flatness, true)]))
    return [
        Figure("edge acutance, over that of true renders", sharp, floor=0.85),
        Figure("flatness, over that of true renders", flat, floor=0.9),
    ]


def measure_shapes(studio: Studio, count: int) -> list[Figure]:
    """How well things on sheets agree with the drawn shapes of their kinds."""
    tasks = sheet_tasks(count, seed=19)
    drawn = studio.draw_all([task.prompt for task in tasks])
    kinds = shape_overlaps(drawn, [task.scene.things[0].kind for task in tasks])
    return [
        Figure("shape, mean overlap", float(np.mean(list(kinds.values()))), floor=0.85),
        *(Figure(f"shape, overlap of a {name}", kinds[name], floor=0.75) for name in kinds),
    ]


def shape_overlaps(drawn: Sequence[Image.Image], wanted: Sequence[str]) -> dict[str, float]:
    """The mean overlap of each kind of thing with its drawn shape, one thing an image."""
    overlaps = defaultdict(list)
    for image, kind in zip(drawn, wanted, strict=True):
        overlaps[kind].append(shape_overlap(object_mask(image), kind))
    return {kind: float(np.mean(values)) for kind, values in overlaps.items()}


def measure_crowds(studio: Studio, count: int) -> list[Figure]:
    """Whether all of two to four objects of a caption are there, in colour and place."""
    tasks = crowd_tasks(count)
    drawn = studio.draw_all([task.prompt for task in tasks])
    right = [all_present(p, task.scene) for p, task in zip(drawn, tasks, strict=True)]
    return [Figure("every object of a landscape", share(right), "%", floor=95)]


def measure_filling(studio: Studio, count: int) -> list[Figure]:
    """Inpainting: the thing appears inside the mask, and the mask's border is not seen."""
    there, seams = [], []
    for index, filling in enumerate(fillings(count)):
        source = render(filling.source)
        got = studio.fill(source, filling.mask, filling.prompt, index)
        there.append(is_present(got, filling.wanted.things[0], filling.wanted))
        seams.append(seam(got, filling.mask))
    return [
        Figure("inpainting, the thing appears", share(there), "%", floor=95),
        Figure("inpainting, seam over inside", float(np.mean(seams)), ceiling=1.3),
    ]


def measure_margins(studio: Studio, count: int) -> list[Figure]:
    """Outpainting: the sky and the ground go on beyond the border."""
    steps = []
    for index, task in enumerate(margins(count)):
        source = render(task.scene)
        width, mask = padded(source)
        steps.append(colour_step(studio.fill(width, mask, task.prompt, index), source.width))
    return [Figure("outpainting, colour step at the seam", float(np.mean(steps)), ceiling=6)]
