"""Control images for ControlNets that need no network: B×H×W×3 in 0..1.

The arithmetic is that of the annotators used for training (github.com/lllyasviel/ControlNet and
its successors, Apache-2.0).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .resize import resize_image

COLOR_CELL_PX = 64
SHUFFLE_CELL_PX = 256
STROKE_THRESHOLD = 127 / 255
MASKED_VALUE = -1.0
MIN_DARKNESS = 16
LUMA = (0.299, 0.587, 0.114)


def to_resolution(image: Tensor, resolution: int) -> Tensor:
    """Resize so that the shorter side has `resolution` pixels: area down, bicubic up."""
    height, width = image.shape[1:3]
    scale = resolution / min(height, width)
    if scale == 1:
        return image
    size = (round(width * scale), round(height * scale))
    return resize_image(image, *size, "area" if scale < 1 else "bicubic").clamp(0, 1)


def remove_detail(image: Tensor, halvings: int) -> Tensor:
    """Remove detail: halve the size by area `halvings` times, then double it as often."""
    height, width = image.shape[1:3]
    size = (max(width >> halvings, 1), max(height >> halvings, 1))
    small = resize_image(image, *size, "area").movedim(-1, 1)
    for _ in range(halvings):
        small = _double(small)
    return resize_image(small.movedim(1, -1), width, height, "bilinear").clamp(0, 1)


def to_color_grid(image: Tensor) -> Tensor:
    """Reduce images to blocks of 64×64 pixels of one colour each."""
    height, width = image.shape[1:3]
    size = (max(width // COLOR_CELL_PX, 1), max(height // COLOR_CELL_PX, 1))
    cells = resize_image(image, *size, "bicubic").clamp(0, 1)
    return resize_image(cells, width, height, "nearest-exact")


def extract_strokes(image: Tensor) -> Tensor:
    """Return white where any channel is below half, the strokes of a drawing; black elsewhere."""
    dark = image[..., :3].amin(-1, keepdim=True) < STROKE_THRESHOLD
    return dark.float().repeat(1, 1, 1, 3)


def extract_lines(image: Tensor, sigma: float, threshold: int) -> Tensor:
    """Return white where an image is darker than its surroundings, the lines of a drawing.

    Args:
        sigma: standard deviation of the Gaussian blur to compare with, in pixels; 0 gives black.
        threshold: difference in 8-bit levels above which pixels set the brightness of lines.

    Source: the standard lineart annotator of ControlNet 1.1.
    """
    from scipy.ndimage import gaussian_filter

    images = image[..., :3].numpy() * 255
    return torch.from_numpy(np.stack([
        _extract_lines(pixels, gaussian_filter(pixels, (sigma, sigma, 0), mode="mirror"), threshold)
        for pixels in images
    ]))  # fmt: skip


def _extract_lines(image: np.ndarray, blurred: np.ndarray, threshold: int) -> np.ndarray:
    darkness = (blurred - image).min(axis=2).clip(0, 255)
    strong = darkness[darkness > threshold]
    scale = max(MIN_DARKNESS, float(np.median(strong)) if strong.size else 0.0)
    levels = (darkness / scale * 127).clip(0, 255).astype(np.uint8).astype(np.float32) / 255
    return np.repeat(levels[..., None], 3, axis=2)


def binarize(image: Tensor, threshold: int) -> Tensor:
    """Return white where the grey value is at most a threshold, black elsewhere.

    Args:
        threshold: 1 to 254; with 0 or 255, Otsu's method chooses one for each image.
    """
    grey = (image[..., :3] @ image.new_tensor(LUMA) * 255).round().clamp(0, 255)
    limits = [otsu_threshold(plane) if threshold in (0, 255) else threshold for plane in grey]
    dark = grey <= grey.new_tensor(limits).view(-1, 1, 1)
    return dark.float().unsqueeze(-1).repeat(1, 1, 1, 3)


def otsu_threshold(levels: Tensor) -> int:
    """Return the threshold with the largest variance between the classes of 8-bit levels.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    counts = torch.bincount(levels.long().flatten(), minlength=256).double()
    below = counts.cumsum(0)
    sums = (counts * torch.arange(256)).cumsum(0)
    above = below[-1] - below
    means = sums / below.clamp_min(1), (sums[-1] - sums) / above.clamp_min(1)
    return int((below * above * (means[0] - means[1]) ** 2).argmax())


def shuffle(image: Tensor, seed: int) -> Tensor:
    """Distort images by two smooth random maps, which keep the colours but not the layout.

    Args:
        seed: seed of the maps; they also depend on the image size.
    """
    height, width = image.shape[1:3]
    random = np.random.RandomState(seed)
    across, down = (_smooth_noise(height, width, random) * 2 - 1 for _ in range(2))
    grid = torch.stack([across, down], dim=-1).expand(len(image), -1, -1, -1)
    moved = functional.grid_sample(
        image.movedim(-1, 1), grid, "bilinear", "border", align_corners=True
    )
    return moved.movedim(1, -1).contiguous()


def set_masked(image: Tensor, mask: Tensor, black: bool) -> Tensor:
    """Set masked pixels to -1, the value that inpainting ControlNets expect there.

    Args:
        mask: B×H×W, resized to the image; above 0.5 is masked.
        black: set them to 0 instead, as some ControlNets expect.
    """
    height, width = image.shape[1:3]
    grid = functional.interpolate(mask.unsqueeze(1).float(), (height, width), mode="bilinear")
    repeats = -(-len(image) // len(grid))
    is_masked = grid.repeat(repeats, 1, 1, 1)[: len(image)].movedim(1, -1) > 0.5
    return torch.where(is_masked, 0.0 if black else MASKED_VALUE, image[..., :3])


def _double(samples: Tensor) -> Tensor:
    """Double the size of B×C×H×W: insert zeros and apply the binomial kernel 1 4 6 4 1."""
    batch, channels, height, width = samples.shape
    spread = samples.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = samples
    line = samples.new_tensor([1, 4, 6, 4, 1]) / 8
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    # Normalise at the borders, so that a uniform image stays uniform.
    ones = torch.zeros_like(spread[:1])
    ones[..., ::2, ::2] = 1
    total = functional.conv2d(ones, kernel, padding=2, groups=channels)
    return functional.conv2d(spread, kernel, padding=2, groups=channels) / total


def _smooth_noise(height: int, width: int, random: np.random.RandomState) -> Tensor:
    """Return smooth noise H×W from 0 to 1: a coarse random grid, upscaled bicubically."""
    cell = SHUFFLE_CELL_PX
    coarse = random.uniform(0, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    size = (height + 2 * cell, width + 2 * cell)
    fine = functional.interpolate(torch.from_numpy(coarse)[None, None], size, mode="bicubic")
    noise = fine[0, 0, cell : cell + height, cell : cell + width]
    noise = noise - noise.min()
    return noise / noise.max().clamp_min(1e-12)
