"""Regions of an image that prompts apply to: an area, a mask, or both. Sizes in latent cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FEATHER = 8
MIN_BOUNDS = 8


class Box(NamedTuple):
    """A window of a latent."""

    height: int
    width: int
    top: int
    left: int

    def crop(self, x: Tensor) -> Tensor:
        """Return a view of the window, of a tensor as large as the latent."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def encloses(self, other: Box) -> bool:
        """Return whether the other lies inside, or is the same."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )


@dataclass(frozen=True)
class Area:
    """A rectangle in cells, or in shares of the latent's sides if `is_relative`."""

    height: float
    width: float
    y: float
    x: float
    is_relative: bool = False


@dataclass(frozen=True, eq=False)
class Region:
    """The region that a prompt applies to.

    Attributes:
        area: the window of the latent that the network sees; None is all of it.
        mask: B×H×W, the weight of each pixel.
        mask_strength: factor on the mask.
        bounds: the area is the smallest that holds the mask.
    """

    area: Area | None = None
    mask: Tensor | None = None
    mask_strength: float = 1.0
    bounds: bool = False

    def requested_box(self, height: int, width: int) -> Box | None:
        """Return the window for a latent of this size, not cut to it; None is all of it."""
        if self.bounds and self.mask is not None:
            return _find_bounds(_fit_mask(self.mask, height, width))
        if self.area is None:
            return None
        area = self.area
        if not area.is_relative:
            return Box(int(area.height), int(area.width), int(area.y), int(area.x))
        size = (max(1, round(area.height * height)), max(1, round(area.width * width)))
        return Box(*size, round(area.y * height), round(area.x * width))

    def cut_box(self, height: int, width: int) -> Box | None:
        """Return the window cut to the latent; its last row or column if it lies outside."""
        box = self.requested_box(height, width)
        if box is None:
            return None
        top, left = min(box.top, height - 1), min(box.left, width - 1)
        return Box(min(box.height, height - top), min(box.width, width - left), top, left)

    def weight(self, box: Box | None, x: Tensor) -> Tensor:
        """Return the weight of each cell in the window, B×1×h×w or 1×1×h×w.

        Args:
            box: the window from `cut_box`.
            x: the latent, B×C×h×w.
        """
        height, width = x.shape[-2:]
        window = box or Box(height, width, 0, 0)
        if self.mask is not None:
            mask = (
                window.crop(_fit_mask(self.mask, height, width)).unsqueeze(1) * self.mask_strength
            )
            repeats = -(-len(x) // len(mask))
            return mask.repeat(repeats, 1, 1, 1)[: len(x)].to(x)
        weight = torch.ones(1, 1, window.height, window.width)
        if box is not None:
            _feather(weight, box, height, width)
        return weight.to(x)


def _fit_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Resize a mask to the latent: bilinear, B×h×w."""
    if mask.shape[-2:] == (height, width):
        return mask.float()
    return interpolate(mask.float().unsqueeze(1), (height, width), mode="bilinear").squeeze(1)


def _find_bounds(mask: Tensor) -> Box:
    """Return the smallest box, of at least 8×8 cells, with all that is not 0 in any mask."""
    is_set = mask.abs().amax(0) > 0
    if not bool(is_set.any()):
        return Box(MIN_BOUNDS, MIN_BOUNDS, 0, 0)
    rows, columns = is_set.any(1).nonzero(), is_set.any(0).nonzero()
    top, left = int(rows[0]), int(columns[0])
    size = (int(rows[-1]) - top + 1, int(columns[-1]) - left + 1)
    return Box(max(size[0], MIN_BOUNDS), max(size[1], MIN_BOUNDS), top, left)


def _feather(weight: Tensor, box: Box, height: int, width: int) -> None:
    """Fade, in place, the edges of an area that do not lie on the latent's edges."""
    for axis, size, start, full_size in (
        (2, box.height, box.top, height),
        (3, box.width, box.left, width),
    ):
        depth = min(FEATHER, size // 4)
        for step in range(depth):
            if start != 0:
                weight.narrow(axis, step, 1).mul_((step + 1) / depth)
            if start + size < full_size:
                weight.narrow(axis, size - 1 - step, 1).mul_((step + 1) / depth)
