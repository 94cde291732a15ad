"""Crops of the masked parts of images, at a model's native size, and stitching them back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from .compose import match_batches
from .masks import grow
from .paste import grow_and_fade, paste
from .resize import resize_image, resize_mask

CELL_PX = 8
# A longer part is cropped with more context on its long sides, as far as the image allows.
MAX_ASPECT = 4


class EmptyMaskError(UnsuitableValueError):
    """A mask that covers nothing."""


@dataclass(frozen=True)
class CropPlan:
    """Settings of a crop.

    Attributes:
        context_px: context on each side of the masked part.
        context_factor: factor for the sides of the part, at least 1, before context is added.
        blend_px: width beyond the mask over which the result fades out.
        native_px: side of a square with about the area of a resized crop.
        is_separate: make one crop for each separate region of a mask.
        method: the resampling filter.
    """

    context_px: int = 32
    context_factor: float = 1.0
    blend_px: int = 16
    native_px: int = 512
    is_separate: bool = False
    method: str = "bicubic"


class CropPosition(NamedTuple):
    """The image of the batch that a crop belongs to, and the pixel of its top left corner."""

    image: int
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class Stitch:
    """A record of crops, for putting them back.

    Attributes:
        source: the full images B×H×W×C.
        positions: one for each crop.
        width, height: size of all crops in pixels of the source.
        opacity: N×h×w, the opacity of each crop when it is put back.
        method: the resampling filter.
    """

    source: Tensor
    positions: tuple[CropPosition, ...]
    width: int
    height: int
    opacity: Tensor
    method: str


class Crops(NamedTuple):
    """Crops N×h×w×C, their masks N×h×w, and the record for putting them back."""

    stitch: Stitch
    images: Tensor
    masks: Tensor


class _Island(NamedTuple):
    """A region of one image: its box (left, top, right, bottom) and the mask inside the box."""

    image: int
    box: tuple[int, int, int, int]
    mask: Tensor

    def mask_in(self, x: int, y: int, width: int, height: int) -> Tensor:
        """Return the mask 1×h×w in a window of the image that contains the box."""
        left, top, right, bottom = self.box
        canvas = torch.zeros(1, height, width)
        canvas[0, top - y : bottom - y, left - x : right - x] = self.mask
        return canvas


def cut(source: Tensor, mask: Tensor, plan: CropPlan) -> Crops:
    """Crop the masked parts of images.

    Args:
        source: images B×H×W×C.
        mask: masks B×H×W, resized to the images; above 0 is inside.

    Raises:
        EmptyMaskError: the mask is 0 everywhere.
    """
    mask = resize_mask(mask, source.shape[2], source.shape[1])
    source, mask = match_batches(source, mask)
    islands = list(_find_islands(mask, plan))
    if not islands:
        raise EmptyMaskError("a mask that covers something", "an empty mask, 0 everywhere")
    (width, height), size = _choose_sizes(islands, source, plan)
    positions, images, masks, opacities = [], [], [], []
    for island in islands:
        x, y = _corner(island.box, width, height, source)
        part = source[island.image : island.image + 1, y : y + height, x : x + width]
        own = island.mask_in(x, y, width, height)
        grown = grow(own, plan.blend_px, tapered=False)
        positions.append(CropPosition(island.image, x, y))
        opacities.append(grow_and_fade(own, plan.blend_px, plan.blend_px))
        images.append(_resize(part, *size, plan.method))
        masks.append(resize_mask(grown, *size))
    stitch = Stitch(source, tuple(positions), width, height, torch.cat(opacities), plan.method)
    return Crops(stitch, torch.cat(images), torch.cat(masks))


def put_back(stitch: Stitch, images: Tensor) -> Tensor:
    """Return the full images with changed crops pasted in.

    Further than the plan's `blend_px` from the mask, values do not change.

    Args:
        images: one for each position, of any size.
    """
    result = stitch.source.clone()
    crops = _resize(images, stitch.width, stitch.height, stitch.method)
    for (image, x, y), crop, opacity in zip(stitch.positions, crops, stitch.opacity, strict=True):
        one = slice(image, image + 1)
        result[one] = paste(result[one], crop[None], opacity[None], x, y)
    return result


def _find_islands(mask: Tensor, plan: CropPlan) -> Iterator[_Island]:
    """Yield the regions to crop; regions whose blend areas touch are one."""
    from scipy.ndimage import find_objects, label

    grown = grow(mask, plan.blend_px, tapered=False) > 0
    for image in range(len(mask)):
        covered = grown[image].numpy()
        labels = covered.astype(np.int32)
        if plan.is_separate:
            labels = label(covered, structure=np.ones((3, 3)))[0]
        for number, (rows, columns) in enumerate(find_objects(labels), start=1):
            own = torch.from_numpy(labels[rows, columns] == number)
            box = (columns.start, rows.start, columns.stop, rows.stop)
            yield _Island(image, box, torch.where(own, mask[image, rows, columns], 0.0))


def _choose_sizes(
    islands: list[_Island], source: Tensor, plan: CropPlan
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return width and height of all crops in the source, and the size to resize them to."""
    old_height, old_width = source.shape[1:3]
    factor, margin = plan.context_factor, 2 * plan.context_px
    width = max(math.ceil((box[2] - box[0]) * factor) + margin for _, box, _ in islands)
    height = max(math.ceil((box[3] - box[1]) * factor) + margin for _, box, _ in islands)
    width = min(old_width, max(width, height // MAX_ASPECT))
    height = min(old_height, max(height, width // MAX_ASPECT))
    scale = plan.native_px / math.sqrt(width * height)
    size = (_round_up_to_cells(width * scale), _round_up_to_cells(height * scale))
    # Rounding up to latent cells changes the aspect ratio; a larger crop restores it.
    width = min(old_width, max(width, round(size[0] / scale)))
    height = min(old_height, max(height, round(size[1] / scale)))
    return (width, height), size


def _round_up_to_cells(pixels: float) -> int:
    return CELL_PX * max(1, math.ceil(pixels / CELL_PX - 1e-6))


def _corner(
    box: tuple[int, int, int, int], width: int, height: int, source: Tensor
) -> tuple[int, int]:
    """Return the top left corner of a crop centred on a box, moved inside the image."""
    old_height, old_width = source.shape[1:3]
    x = (box[0] + box[2] - width) // 2
    y = (box[1] + box[3] - height) // 2
    return min(max(x, 0), old_width - width), min(max(y, 0), old_height - height)


def _resize(image: Tensor, width: int, height: int, method: str) -> Tensor:
    if image.shape[1:3] == (height, width):
        return image
    return resize_image(image, width, height, method).clamp(0.0, 1.0)
