"""Canny's edge detector: one-pixel white lines where brightness changes most."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
MIN_SIDE = 3
TIE = 1e-5
# Neighbours (row, column) by the gradient's direction in steps of 45°, from right, downwards.
NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
WITHIN_A_IMAGE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def canny(pixels: Tensor, low: float, high: float) -> Tensor:
    """Edges of B×H×W×C images in 0..1, as B×H×W×3 images of 0 and 1 on the CPU.

    Args:
        pixels: 3 channels or more (the first three count) or 1; sides of 3 px at least.
        low: gradients above it are edges where they touch an edge, in units of a Sobel filter
            of weight 8: a step from 0 to 1 reads about 2.6.
        high: gradients above it are edges; `low` at least.

    Raises:
        ValueError: `low` is above `high`, or the images are too small.

    Source:
        J. Canny, "A Computational Approach to Edge Detection", 1986, with the constants of
        kornia 0.7 `filters/canny.py`, which ComfyUI's node calls: Rec. 601 grey, Gaussian of
        5×5 and sigma 1 (edges reflected), Sobel filters (edges repeated), eight directions.
        It departs on purpose in one case: of two neighbours with the same gradient kornia
        drops both, so that a clean step has no edge; here the brighter side's one stays.
    """
    if low > high:
        raise ValueError(f"the low threshold {low} is above the high one, {high}")
    if min(pixels.shape[1:3]) < MIN_SIDE:
        raise ValueError(f"an image of {pixels.shape[2]}×{pixels.shape[1]} px is too small")
    across, down = _gradient(_smooth(_grey(pixels.float().cpu())))
    size = (across.square() + down.square() + 1e-6).sqrt()
    size = torch.where(_is_ridge(size, across, down), size, 0.0)
    edges = _connected(size > low, size > high)
    return edges.float().unsqueeze(-1).repeat(1, 1, 1, 3)


def _grey(pixels: Tensor) -> Tensor:
    """Rec. 601 luma, B×H×W."""
    if pixels.shape[-1] < len(LUMA):
        return pixels[..., 0]
    return pixels[..., :3] @ pixels.new_tensor(LUMA)


def _smooth(grey: Tensor) -> Tensor:
    """Convolved with a Gaussian of 5×5, sigma 1; images of 3 or more pixels a side."""
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.softmax(-offsets.square() / 2.0, dim=0)
    padded = functional.pad(grey.unsqueeze(1), (2, 2, 2, 2), "reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, 5))
    return functional.conv2d(rows, kernel.view(1, 1, 5, 1)).squeeze(1)


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives across (x) and down (y), not normalised."""
    across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    padded = functional.pad(grey.unsqueeze(1), (1, 1, 1, 1), "replicate")
    both = functional.conv2d(padded, kernels)
    return both[:, 0], both[:, 1]


def _is_ridge(size: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Where a gradient is larger than the next one along it and no smaller than the last.

    Differences under `TIE` are rounding, so equal gradients resolve the same way everywhere.
    """
    height, width = size.shape[1:]
    padded = functional.pad(size, (1, 1, 1, 1))
    around = torch.stack(
        [padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in NEIGHBOURS], dim=1
    )
    direction = torch.atan2(down, across).mul(4 / math.pi).round().long().unsqueeze(1)
    ahead = around.gather(1, direction % 8).squeeze(1)
    behind = around.gather(1, (direction + 4) % 8).squeeze(1)
    return (size > ahead + TIE) & (size >= behind - TIE)


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """Hysteresis: the eight-connected pieces of `weak` that hold a `strong` pixel."""
    pieces, count = ndimage.label(weak.numpy(), WITHIN_A_IMAGE)
    kept = np.zeros(count + 1, dtype=bool)
    kept[pieces[strong.numpy()]] = True
    kept[0] = False
    return torch.from_numpy(kept[pieces])
