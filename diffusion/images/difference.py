"""Differences of two images of one size: PSNR, SSIM, CIEDE2000, and agreement of edges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import conv2d

from .canny import LUMA, canny
from .images import to_bytes
from .lab import delta_e, to_lab

# PSNR of images without a difference: finite, and above that of any others. One level in one
# value of 4096 images of 16384×16384 pixels has 173 dB.
EQUAL_DB = 200.0
# Window of SSIM: a Gaussian, cut off 5 pixels from its centre.
WINDOW = 11
SIGMA_PX = 1.5
BORDER_PX = WINDOW // 2
STABILIZERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
# Pixels that are compared at a time, to limit memory.
CHUNK = 2**18


@dataclass(frozen=True)
class ImageDifference:
    """The difference of two images or of a part of them, in 8-bit levels as saved.

    Attributes:
        pixels: number of pixels in the part.
        changed: number of pixels that differ.
        psnr_db: peak signal to noise ratio of the RGB values; 200 if no pixel differs.
        ssim: mean structural similarity of luma, -1 to 1; None if the part has no pixel at
            least 5 pixels from the border.
        delta_e: mean CIEDE2000.
    """

    pixels: int
    changed: int
    psnr_db: float
    ssim: float | None
    delta_e: float


class Comparison:
    """Two images, compared pixel by pixel once; parts of them are then cheap to measure.

    Args:
        first, second: B×H×W×C in 0..1 of one size, of 1, 3 or 4 channels; alpha is ignored. One
            image is compared with all of the other batch.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        before, after = (_to_rgb(to_bytes(image.cpu())) for image in (first, second))
        batch = max(len(before), len(after))
        before, after = (image.expand(batch, -1, -1, -1) for image in (before, after))
        self.changed = (before != after).any(dim=-1)
        self.squares = torch.empty(self.changed.shape, dtype=torch.float64)
        self.delta_e = torch.zeros(self.changed.shape, dtype=torch.float64)
        rows = max(1, CHUNK // before.shape[2])
        for index in range(batch):
            for start in range(0, before.shape[1], rows):
                part = (index, slice(start, start + rows))
                colors = before[part], after[part]
                self.squares[part] = (colors[0].double() - colors[1].double()).square().mean(-1)
                if bool(self.changed[part].any()):
                    labs = (to_lab(color / 255.0) for color in colors)
                    self.delta_e[part] = delta_e(*labs)
        self.ssim = torch.stack(
            [ssim_map(_luma(a), _luma(b)) for a, b in zip(before, after, strict=True)]
        )

    def measure(self, inside: Tensor | None = None) -> ImageDifference | None:
        """Return the difference of a part B×H×W, by default of the images; None if it is empty.

        SSIM is the mean over the windows whose centre is in the part.
        """
        part = torch.ones_like(self.changed) if inside is None else inside.expand_as(self.changed)
        pixels = int(part.sum())
        if not pixels:
            return None
        error = float(self.squares[part].mean())
        height, width = part.shape[1:]
        centers = part[:, BORDER_PX : height - BORDER_PX, BORDER_PX : width - BORDER_PX]
        similar = self.ssim[centers] if self.ssim.numel() else self.ssim.flatten()
        return ImageDifference(
            pixels=pixels,
            changed=int(self.changed[part].sum()),
            psnr_db=10 * math.log10(255**2 / error) if error else EQUAL_DB,
            ssim=float(similar.mean()) if similar.numel() else None,
            delta_e=float(self.delta_e[part].mean()),
        )


def ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """Return the structural similarity of two planes H×W of 0..255 in each window of 11×11.

    Returns:
        (H-10)×(W-10), float64: only windows that lie inside; empty for smaller planes.

    Source:
        Z. Wang, A. Bovik, H. Sheikh, E. Simoncelli, "Image quality assessment: from error
        visibility to structural similarity", 2004: Gaussian weights of sigma 1.5, K1 = 0.01,
        K2 = 0.03.
    """
    height, width = (max(0, side - 2 * BORDER_PX) for side in first.shape)
    result = torch.empty(height, width, dtype=torch.float64)
    if not result.numel():
        return result
    rows = max(1, CHUNK // width)
    for start in range(0, height, rows):
        part = slice(start, start + rows + 2 * BORDER_PX)
        result[start : start + rows] = _similarity(first[part].double(), second[part].double())
    return result


def _similarity(first: Tensor, second: Tensor) -> Tensor:
    planes = (first, second, first * first, second * second, first * second)
    mean1, mean2, square1, square2, product = _weighted_means(torch.stack(planes))
    c1, c2 = STABILIZERS
    variance1, variance2 = square1 - mean1 * mean1, square2 - mean2 * mean2
    covariance = product - mean1 * mean2
    light = (2 * mean1 * mean2 + c1) / (mean1 * mean1 + mean2 * mean2 + c1)
    return light * (2 * covariance + c2) / (variance1 + variance2 + c2)


def _weighted_means(planes: Tensor) -> Iterator[Tensor]:
    offsets = torch.arange(-BORDER_PX, BORDER_PX + 1, dtype=torch.float64)
    weights = torch.softmax(-offsets.square() / (2 * SIGMA_PX**2), dim=0)
    rows = conv2d(planes.unsqueeze(1), weights.view(1, 1, WINDOW, 1))
    yield from conv2d(rows, weights.view(1, 1, 1, WINDOW)).squeeze(1)


def edge_agreement(first: Tensor, second: Tensor, reach: float, low: float, high: float) -> float:
    """Return the F1 score of the edges of two images, 0 to 1.

    An edge pixel agrees if an edge of the other image lies within `reach` pixels (Euclidean).
    Precision is the share of the second's edge pixels that agree, recall that of the first's.
    Two images without edges agree fully; with edges in one of them only, the score is 0.

    Args:
        first, second: as in `Comparison`, of at least 3×3 pixels.
        low, high: thresholds, as in `canny`.
    """
    edges = [canny(image, low, high)[..., 0].bool().numpy() for image in (first, second)]
    counts, agreeing = [0, 0], [0, 0]
    for index in range(max(len(first), len(second))):
        pair = [maps[index % len(maps)] for maps in edges]
        for side, (own, other) in enumerate((pair, pair[::-1])):
            counts[side] += int(own.sum())
            if other.any():
                distance = ndimage.distance_transform_edt(~other)
                agreeing[side] += int((distance[own] <= reach).sum())
    if not any(counts):
        return 1.0
    recall, precision = (part / max(1, count) for part, count in zip(agreeing, counts, strict=True))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _to_rgb(levels: Tensor) -> Tensor:
    return levels[..., :1].expand(-1, -1, -1, 3) if levels.shape[-1] < 3 else levels[..., :3]


def _luma(levels: Tensor) -> Tensor:
    return levels.double() @ torch.tensor(LUMA, dtype=torch.float64)
