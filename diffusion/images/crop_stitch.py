"""Masked parts of images cut out at the size a model likes, and stitched back exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from .compose import same_batch
from .masks import grow
from .paste import paste, widen
from .resize import resize_image, resize_mask

CELL_PX = 8
# A part of a longer shape is cut with more context across, if the image has it.
MAX_ASPECT = 4


class EmptyMaskError(UnsuitableValueError):
    """A mask that covers nothing."""


@dataclass(frozen=True)
class CropPlan:
    """How parts are cut out.

    Attributes:
        context_px: what is seen around a part on each side.
        context_factor: sides of a part are first multiplied with this, at least 1.
        blend_px: how far beyond the mask may be painted; over this width it fades out.
        native_px: crops get about the area of a square with this side.
        apart: each island of a mask is a crop of its own.
        method: how pixels are read when sizes change.
    """

    context_px: int = 32
    context_factor: float = 1.0
    blend_px: int = 16
    native_px: int = 512
    apart: bool = False
    method: str = "bicubic"


class Place(NamedTuple):
    """Which image of the batch a crop is of, and the pixel of its top left corner."""

    image: int
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class Stitch:
    """What it takes to put crops back.

    Attributes:
        source: the whole images B×H×W×C.
        places: of each crop; all are `width`×`height` pixels of the source.
        share: N×h×w, how much of each crop will show.
        method: how pixels are read when sizes change.
    """

    source: Tensor
    places: tuple[Place, ...]
    width: int
    height: int
    share: Tensor
    method: str


class Crops(NamedTuple):
    """Crops N×h×w×C, the masks N×h×w of what to paint in them, and how they go back."""

    stitch: Stitch
    images: Tensor
    masks: Tensor


class _Island(NamedTuple):
    """A part of one image: its ring's box (left, top, right, bottom), and the mask in the box."""

    image: int
    box: tuple[int, int, int, int]
    mask: Tensor

    def over(self, x: int, y: int, width: int, height: int) -> Tensor:
        """The mask 1×h×w over a part of the image that holds the box."""
        left, top, right, bottom = self.box
        canvas = torch.zeros(1, height, width)
        canvas[0, top - y : bottom - y, left - x : right - x] = self.mask
        return canvas


def cut(source: Tensor, mask: Tensor, plan: CropPlan) -> Crops:
    """Cut the masked parts out of images.

    Args:
        source: images B×H×W×C.
        mask: masks B×H×W, resized to the images; 0 is outside.

    Raises:
        EmptyMaskError: the mask covers nothing.
    """
    mask = resize_mask(mask, source.shape[2], source.shape[1])
    source, mask = same_batch(source, mask)
    islands = list(_islands(mask, plan))
    if not islands:
        raise EmptyMaskError("a mask that covers something", "an empty mask, 0 everywhere")
    (width, height), size = _sizes(islands, source, plan)
    places, images, masks, shares = [], [], [], []
    for island in islands:
        x, y = _corner(island.box, width, height, source)
        part = source[island.image : island.image + 1, y : y + height, x : x + width]
        own = island.over(x, y, width, height)
        reach = grow(own, plan.blend_px, tapered=False)
        places.append(Place(island.image, x, y))
        shares.append(widen(own, plan.blend_px, plan.blend_px))
        images.append(_resized(part, *size, plan.method))
        masks.append(resize_mask(reach, *size))
    stitch = Stitch(source, tuple(places), width, height, torch.cat(shares), plan.method)
    return Crops(stitch, torch.cat(images), torch.cat(masks))


def put_back(stitch: Stitch, images: Tensor) -> Tensor:
    """The whole images with changed crops in them.

    Further than the plan's `blend_px` from the mask every value is the source's.

    Args:
        images: one for each place, of any size.
    """
    result = stitch.source.clone()
    parts = _resized(images, stitch.width, stitch.height, stitch.method)
    for index, (image, x, y) in enumerate(stitch.places):
        one = slice(image, image + 1)
        here = slice(index, index + 1)
        result[one] = paste(result[one], parts[here], stitch.share[here], x, y)
    return result


def _islands(mask: Tensor, plan: CropPlan) -> Iterator[_Island]:
    """What is cut out, one after another; parts whose rings meet are one island."""
    from scipy.ndimage import find_objects, label

    reach = grow(mask, plan.blend_px, tapered=False) > 0
    for image in range(len(mask)):
        covered = reach[image].numpy()
        numbers = covered.astype(np.int32)
        if plan.apart:
            numbers = label(covered, structure=np.ones((3, 3)))[0]
        for number, (rows, columns) in enumerate(find_objects(numbers), start=1):
            own = torch.from_numpy(numbers[rows, columns] == number)
            box = (columns.start, rows.start, columns.stop, rows.stop)
            yield _Island(image, box, torch.where(own, mask[image, rows, columns], 0.0))


def _sizes(
    islands: list[_Island], source: Tensor, plan: CropPlan
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of all crops in the source, and what they are resized to."""
    old_height, old_width = source.shape[1:3]
    factor, margin = plan.context_factor, 2 * plan.context_px
    width = max(math.ceil((box[2] - box[0]) * factor) + margin for _, box, _ in islands)
    height = max(math.ceil((box[3] - box[1]) * factor) + margin for _, box, _ in islands)
    width = min(old_width, max(width, height // MAX_ASPECT))
    height = min(old_height, max(height, width // MAX_ASPECT))
    scale = plan.native_px / math.sqrt(width * height)
    size = (_cells(width * scale), _cells(height * scale))
    # Whole cells are a little more than was asked for; more of the image keeps its aspect.
    width = min(old_width, max(width, round(size[0] / scale)))
    height = min(old_height, max(height, round(size[1] / scale)))
    return (width, height), size


def _cells(pixels: float) -> int:
    return CELL_PX * max(1, math.ceil(pixels / CELL_PX - 1e-6))


def _corner(
    box: tuple[int, int, int, int], width: int, height: int, source: Tensor
) -> tuple[int, int]:
    """Where a crop begins so that a box is in its middle, or near an edge as far as it can."""
    old_height, old_width = source.shape[1:3]
    x = (box[0] + box[2] - width) // 2
    y = (box[1] + box[3] - height) // 2
    return min(max(x, 0), old_width - width), min(max(y, 0), old_height - height)


def _resized(image: Tensor, width: int, height: int, method: str) -> Tensor:
    if image.shape[1:3] == (height, width):
        return image
    return resize_image(image, width, height, method).clamp(0.0, 1.0)
