"""The images that training sees, drawn once and kept in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.world.render import render, to_array
from training.world.scenes import HELD_OUT_SEEDS, SIZE, TRAINING_SEEDS, sample_scene
from training.world.textures import dead_leaves

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def load_pool(scenes: int, textures: int, folder: Path) -> NDArray[np.uint8]:
    """N×H×W×3 bytes: the scenes of seeds 0, 1, ..., then the textures."""
    path = folder / f"images-{scenes}-{textures}.npy"
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, draw_pool(scenes, textures, TRAINING_SEEDS.start))
        partial.replace(path)
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def draw_pool(scenes: int, textures: int, first_seed: int) -> NDArray[np.uint8]:
    """Draw scenes and textures from consecutive seeds."""
    images = np.empty((scenes + textures, SIZE, SIZE, 3), np.uint8)
    for index in range(scenes):
        images[index] = to_array(render(sample_scene(first_seed + index)))
    for index in range(textures):
        images[scenes + index] = to_array(dead_leaves(first_seed + index))
    return images


def held_out(scenes: int, textures: int) -> Tensor:
    """N×3×H×W images in -1..1 that no stage trains on."""
    return to_tensor(draw_pool(scenes, textures, HELD_OUT_SEEDS.start))


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Bytes N×H×W×3 to a float tensor N×3×H×W in -1..1."""
    tensor = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return tensor.float() / 127.5 - 1


def draw_batch(
    images: NDArray[np.uint8], count: int, side: int, generator: torch.Generator
) -> Tensor:
    """Random crops of `side` pixels (on a grid of 8), half of them mirrored, in -1..1."""
    picks = torch.randint(len(images), (count,), generator=generator).tolist()
    cells = (images.shape[1] - side) // 8 + 1
    corners = (torch.randint(cells, (count, 2), generator=generator) * 8).tolist()
    crops = [
        images[pick, top : top + side, left : left + side]
        for pick, (top, left) in zip(picks, corners, strict=True)
    ]
    batch = to_tensor(np.stack(crops))
    mirrored = torch.rand((), generator=generator) < 0.5
    return batch.flip(3) if mirrored else batch
