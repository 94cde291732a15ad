"""Canny's edge detector."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
MIN_SIDE = 3
# Gradients that differ by less are equal, so that rounding does not decide.
TIE = 1e-5
# Offsets (row, column) of the neighbours, by gradient direction in steps of 45°: right, down, ...
NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
# Connectivity of eight neighbours in an image, and none between the images of a batch.
WITHIN_AN_IMAGE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def canny(pixels: Tensor, low: float, high: float) -> Tensor:
    """Return the edges of images as white lines, one pixel wide, on black: B×H×W×3 on the CPU.

    Args:
        pixels: images B×H×W×C in 0..1 of 1, 3 or 4 channels and at least 3×3 pixels; alpha is
            ignored.
        low: gradients above it continue an edge, in units of a Sobel filter of weight 8: a step
            from 0 to 1 has about 2.6.
        high: gradients above it start an edge; at least `low`.

    Raises:
        ValueError: `low` is above `high`, or the images are too small.

    Source:
        J. Canny, "A Computational Approach to Edge Detection", 1986, with the constants of
        kornia 0.7 `filters/canny.py`, which ComfyUI's node calls: Rec. 601 luma, Gaussian of
        5×5 and sigma 1 (reflected borders), Sobel filters (repeated borders), eight directions.
        One difference: of two neighbours with equal gradients, kornia drops both, so that a
        clean step has no edge; here the one on the brighter side stays.
    """
    if low > high:
        raise ValueError(f"low threshold: expected at most {high}, got {low}")
    if min(pixels.shape[1:3]) < MIN_SIDE:
        size = f"{pixels.shape[2]}×{pixels.shape[1]}"
        raise ValueError(f"image: expected at least {MIN_SIDE}×{MIN_SIDE} pixels, got {size}")
    across, down = _gradient(_smooth(_luma(pixels.float().cpu())))
    magnitude = (across.square() + down.square() + 1e-6).sqrt()
    magnitude = torch.where(_is_ridge(magnitude, across, down), magnitude, 0.0)
    edges = _connect(magnitude > low, magnitude > high)
    return edges.float().unsqueeze(-1).repeat(1, 1, 1, 3)


def _luma(pixels: Tensor) -> Tensor:
    """Return Rec. 601 luma, B×H×W."""
    if pixels.shape[-1] < len(LUMA):
        return pixels[..., 0]
    return pixels[..., :3] @ pixels.new_tensor(LUMA)


def _smooth(grey: Tensor) -> Tensor:
    """Convolve with a 5×5 Gaussian of sigma 1."""
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.softmax(-offsets.square() / 2.0, dim=0)
    padded = functional.pad(grey.unsqueeze(1), (2, 2, 2, 2), "reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, 5))
    return functional.conv2d(rows, kernel.view(1, 1, 5, 1)).squeeze(1)


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Sobel derivatives across (x) and down (y), not normalised."""
    across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T]).unsqueeze(1)
    padded = functional.pad(grey.unsqueeze(1), (1, 1, 1, 1), "replicate")
    both = functional.conv2d(padded, kernels)
    return both[:, 0], both[:, 1]


def _is_ridge(magnitude: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return where a gradient exceeds the next in its direction and is at least the previous."""
    height, width = magnitude.shape[1:]
    padded = functional.pad(magnitude, (1, 1, 1, 1))
    around = torch.stack(
        [padded[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in NEIGHBOURS], dim=1
    )
    direction = torch.atan2(down, across).mul(4 / math.pi).round().long().unsqueeze(1)
    ahead = around.gather(1, direction % 8).squeeze(1)
    behind = around.gather(1, (direction + 4) % 8).squeeze(1)
    return (magnitude > ahead + TIE) & (magnitude >= behind - TIE)


def _connect(weak: Tensor, strong: Tensor) -> Tensor:
    """Return the eight-connected components of `weak` that contain a pixel of `strong`."""
    labels, count = ndimage.label(weak.numpy(), WITHIN_AN_IMAGE)
    is_edge = np.zeros(count + 1, dtype=bool)
    is_edge[labels[strong.numpy()]] = True
    is_edge[0] = False
    return torch.from_numpy(is_edge[labels])
