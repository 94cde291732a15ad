"""What training sees, as tables whose rows the workers of a crew draw."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from training.world.changes import change
from training.world.crew import Table
from training.world.render import render, to_array
from training.world.scenes import SIZE, TRAINING_SEEDS, sample_scene
from training.world.textures import dead_leaves

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE = (SIZE, SIZE, 3)


def scenes_table(folder: Path, count: int) -> Table:
    """The scenes of seeds 0, 1, ..."""
    return Table(folder / f"images-{count}.npy", draw_scenes, count, IMAGE)


def textures_table(folder: Path, count: int) -> Table:
    """Dead leaves of seeds 0, 1, ..."""
    return Table(folder / f"images-textures-{count}.npy", draw_textures, count, IMAGE)


def views_table(folder: Path, count: int) -> Table:
    """The first scenes after a change."""
    return Table(folder / f"images-views-{count}.npy", draw_views, count, IMAGE)


def edges_table(folder: Path, images: Path, count: int) -> Table:
    """The edges of the scenes in a file, eight pixels a byte."""
    shape = (SIZE, SIZE // 8)
    return Table(folder / f"edges-{count}.npy", partial(draw_edges, images), count, shape)


def draw_scenes(first: int, last: int, start: int = TRAINING_SEEDS.start) -> NDArray[np.uint8]:
    """N×H×W×3 bytes: scenes of consecutive seeds."""
    return _stack([to_array(render(sample_scene(start + index))) for index in range(first, last)])


def draw_textures(first: int, last: int, start: int = TRAINING_SEEDS.start) -> NDArray[np.uint8]:
    """N×H×W×3 bytes: textures of consecutive seeds."""
    return _stack([to_array(dead_leaves(start + index)) for index in range(first, last)])


def draw_views(first: int, last: int) -> NDArray[np.uint8]:
    """N×H×W×3 bytes: scenes of consecutive seeds after a change."""
    seeds = range(TRAINING_SEEDS.start + first, TRAINING_SEEDS.start + last)
    return _stack([to_array(render(change(seed).after)) for seed in seeds])


def draw_edges(images: Path, first: int, last: int) -> NDArray[np.uint8]:
    """N×H×(W/8) bytes: the edges of images; one in four has the few of the usual thresholds."""
    from training.world.edges import find_edges  # torch: other workers do without it

    pixels = np.load(images, mmap_mode="r")[first:last]
    return np.stack([find_edges(pixels[k], first + k) for k in range(last - first)])


def _stack(images: list[Any]) -> NDArray[np.uint8]:
    return np.stack(images) if images else np.empty((0, *IMAGE), np.uint8)
