"""Images as Qwen's vision towers take them: patches of 14×14 pixels, in groups of 2×2."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .resize import resize

PATCH_PX, MERGE, FRAMES = 14, 2, 2
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class VisionPatches(NamedTuple):
    """The patches of an image.

    Attributes:
        pixels: n×1176, normalized; the image is repeated as the second frame.
        rows, columns: of patches; both are even.
    """

    pixels: Tensor
    rows: int
    columns: int


def make_patches(image: Tensor) -> VisionPatches:
    """Return the patches of the first of images B×H×W×C in 0..1, resized to fit them.

    Source: Qwen2-VL (arXiv 2409.12191); the order of patches is that of transformers.
    """
    side = PATCH_PX * MERGE
    height, width = (max(side, round(length / side) * side) for length in image.shape[1:3])
    x = resize(image[:1, ..., :3].movedim(-1, 1).float(), width, height)
    x = (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]
    rows, columns = height // PATCH_PX, width // PATCH_PX
    shape = (3, rows // MERGE, MERGE, PATCH_PX, columns // MERGE, MERGE, PATCH_PX)
    groups = x[0].reshape(shape).permute(1, 4, 2, 5, 0, 3, 6)
    frames = groups.unsqueeze(5).expand(*groups.shape[:5], FRAMES, PATCH_PX, PATCH_PX)
    return VisionPatches(frames.reshape(rows * columns, -1), rows, columns)


def image_positions(shape: tuple[int, int], start: int) -> Tensor:
    """Return the positions 3×n of an image's tokens, of groups of patches, from a first one."""
    axes = (torch.arange(1), *(torch.arange(length) for length in shape))
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1) + start
