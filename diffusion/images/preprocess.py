"""Images for ControlNets that are made without weights: tiles, colours, strokes, shuffles.

Arithmetic of the annotators that the nets were trained with (github.com/lllyasviel/ControlNet
and its successors, Apache-2.0), on B×H×W×3 floats in 0..1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .resize import resize_image

COLOUR_CELL_PX = 64
SHUFFLE_CELL_PX = 256
STROKE_BELOW = 127 / 255
UNKNOWN = -1.0
MIN_DARKNESS = 16
LUMA = (0.299, 0.587, 0.114)


def to_resolution(image: Tensor, resolution: int) -> Tensor:
    """Resized so that the shorter side has `resolution` pixels: by area down, bicubic up."""
    height, width = image.shape[1:3]
    scale = resolution / min(height, width)
    if scale == 1:
        return image
    size = (round(width * scale), round(height * scale))
    return resize_image(image, *size, "area" if scale < 1 else "bicubic").clamp(0, 1)


def tile(image: Tensor, halvings: int) -> Tensor:
    """Without its details: halved so many times by area, and smoothly doubled as often."""
    height, width = image.shape[1:3]
    size = (max(width >> halvings, 1), max(height >> halvings, 1))
    small = resize_image(image, *size, "area").movedim(-1, 1)
    for _ in range(halvings):
        small = _doubled(small)
    grown = small.movedim(1, -1)
    return resize_image(grown, width, height, "bilinear").clamp(0, 1)


def colours(image: Tensor) -> Tensor:
    """One colour for each 64×64 px."""
    height, width = image.shape[1:3]
    size = (max(width // COLOUR_CELL_PX, 1), max(height // COLOUR_CELL_PX, 1))
    cells = resize_image(image, *size, "bicubic").clamp(0, 1)
    return resize_image(cells, width, height, "nearest-exact")


def strokes(image: Tensor) -> Tensor:
    """White where any channel is darker than half, black elsewhere: a drawing's strokes."""
    dark = image[..., :3].amin(-1, keepdim=True) < STROKE_BELOW
    return dark.float().repeat(1, 1, 1, 3)


def lines(image: Tensor, sigma: float, threshold: int) -> Tensor:
    """White where an image is darker than its surroundings: the lines of a drawing.

    Args:
        sigma: of the Gaussian that the surroundings are, in pixels; 0 leaves no lines.
        threshold: levels of 255 above which darkness counts for how bright lines get.

    Source: the annotator of ControlNet 1.1's lineart for images that are drawings.
    """
    from scipy.ndimage import gaussian_filter

    images = image[..., :3].numpy() * 255
    return torch.from_numpy(np.stack([
        _lines(each, gaussian_filter(each, (sigma, sigma, 0), mode="mirror"), threshold)
        for each in images
    ]))  # fmt: skip


def _lines(image: np.ndarray, around: np.ndarray, threshold: int) -> np.ndarray:
    darkness = (around - image).min(axis=2).clip(0, 255)
    strong = darkness[darkness > threshold]
    scale = max(MIN_DARKNESS, float(np.median(strong)) if strong.size else 0.0)
    levels = (darkness / scale * 127).clip(0, 255).astype(np.uint8).astype(np.float32) / 255
    return np.repeat(levels[..., None], 3, axis=2)


def binary(image: Tensor, threshold: int) -> Tensor:
    """White where the grey value, 0 to 255, is at most a threshold; 0 finds one by itself.

    Source of the automatic threshold: N. Otsu, "A threshold selection method from gray-level
    histograms", 1979; one for each image.
    """
    levels = (image[..., :3] @ image.new_tensor(LUMA) * 255).round().clamp(0, 255)
    limits = [otsu(each) if threshold in (0, 255) else threshold for each in levels]
    dark = levels <= levels.new_tensor(limits).view(-1, 1, 1)
    return dark.float().unsqueeze(-1).repeat(1, 1, 1, 3)


def otsu(levels: Tensor) -> int:
    """The threshold that parts whole levels, 0 to 255, into two classes that differ most."""
    counts = torch.bincount(levels.long().flatten(), minlength=256).double()
    below = counts.cumsum(0)
    sums = (counts * torch.arange(256)).cumsum(0)
    above = below[-1] - below
    means = sums / below.clamp_min(1), (sums[-1] - sums) / above.clamp_min(1)
    return int((below * above * (means[0] - means[1]) ** 2).argmax())


def shuffled(image: Tensor, seed: int) -> Tensor:
    """The image's content drawn about by two smooth random maps: colours stay, places do not.

    Args:
        seed: of the maps, which depend on the size too.
    """
    height, width = image.shape[1:3]
    random = np.random.RandomState(seed)
    across, down = (_noise_disk(height, width, random) * 2 - 1 for _ in range(2))
    grid = torch.stack([across, down], dim=-1).expand(len(image), -1, -1, -1)
    moved = functional.grid_sample(
        image.movedim(-1, 1), grid, "bilinear", "border", align_corners=True
    )
    return moved.movedim(1, -1).contiguous()


def holed(image: Tensor, mask: Tensor, black: bool) -> Tensor:
    """With the mask's pixels set to -1, which inpainting ControlNets read as unknown.

    Args:
        mask: B×H×W, resized to the image; above a half is unknown.
        black: set them to 0 instead, as some nets want.
    """
    height, width = image.shape[1:3]
    grid = functional.interpolate(mask.unsqueeze(1).float(), (height, width), mode="bilinear")
    repeats = -(-len(image) // len(grid))
    unknown = grid.repeat(repeats, 1, 1, 1)[: len(image)].movedim(1, -1) > 0.5
    return torch.where(unknown, 0.0 if black else UNKNOWN, image[..., :3])


def _doubled(samples: Tensor) -> Tensor:
    """B×C×H×W at twice the size, by the binomial kernel 1 4 6 4 1 over inserted zeros."""
    batch, channels, height, width = samples.shape
    spread = samples.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = samples
    line = samples.new_tensor([1, 4, 6, 4, 1]) / 8
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    # Weights under the border are made up for, so that a flat image stays flat.
    ones = torch.zeros_like(spread[:1])
    ones[..., ::2, ::2] = 1
    total = functional.conv2d(ones, kernel, padding=2, groups=channels)
    return functional.conv2d(spread, kernel, padding=2, groups=channels) / total


def _noise_disk(height: int, width: int, random: np.random.RandomState) -> Tensor:
    """H×W smooth noise from 0 to 1: a coarse random grid, grown bicubically."""
    cell = SHUFFLE_CELL_PX
    coarse = random.uniform(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    size = (height + 2 * cell, width + 2 * cell)
    fine = functional.interpolate(torch.from_numpy(coarse)[None, None], size, mode="bicubic")
    noise = fine[0, 0, cell : cell + height, cell : cell + width]
    noise = noise - noise.min()
    return noise / noise.max().clamp_min(1e-12)
