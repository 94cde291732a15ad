"""Filters of images B×H×W×C in 0..1: blur, sharpen, noise, palettes, morphology."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn.functional import conv2d

from .images import to_bytes
from .masks import max_filter


def gaussian_kernel(radius: int, sigma: float) -> Tensor:
    """Return a (2r+1)×(2r+1) Gaussian of sum 1; `sigma` is a multiple of the radius."""
    line = torch.linspace(-1, 1, 2 * radius + 1)
    squares = line[:, None] ** 2 + line[None] ** 2
    kernel = torch.exp(-squares / (2.0 * sigma * sigma))
    return kernel / kernel.sum()


def blur(image: Tensor, radius: int, sigma: float) -> Tensor:
    """Blur with a Gaussian; borders are reflected."""
    return convolve(image.movedim(-1, 1), gaussian_kernel(radius, sigma)).movedim(1, -1)


def sharpen(image: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Sharpen by unsharp masking: add 10·alpha times the difference from the blurred image."""
    kernel = sharpening_kernel(radius, sigma, alpha)
    return convolve(image.movedim(-1, 1), kernel).movedim(1, -1).clamp(0.0, 1.0)


def sharpening_kernel(radius: int, sigma: float, alpha: float) -> Tensor:
    """Return the kernel of `sharpen`, of sum 1."""
    kernel = gaussian_kernel(radius, sigma) * (-10.0 * alpha)
    # In ComfyUI's order: 1 - sum would be rounded otherwise.
    kernel[radius, radius] = kernel[radius, radius] - kernel.sum() + 1.0
    return kernel


def convolve(samples: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of B×C×H×W with a kernel of odd size; borders are reflected."""
    rows, columns = (_reflect(size, kernel.shape[0] // 2) for size in samples.shape[-2:])
    padded = samples[..., rows, :][..., columns]
    channels = samples.shape[1]
    return conv2d(padded, kernel.repeat(channels, 1, 1, 1), groups=channels)


def _reflect(size: int, margin: int) -> Tensor:
    """Return the indices of a padded side; unlike torch, margins may exceed the side."""
    period = max(1, 2 * (size - 1))
    index = torch.arange(-margin, size + margin) % period
    return torch.where(index < size, index, period - index)


def add_noise(image: Tensor, seed: int, strength: float) -> Tensor:
    """Add Gaussian noise of standard deviation `strength`; values are clamped to 0..1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(image.shape, generator=generator)
    return (image + strength * noise).clamp(0.0, 1.0)


def quantize(image: Tensor, colors: int, dither: str) -> Tensor:
    """Reduce each image to a palette of its own with at most `colors` colours (median cut).

    Args:
        dither: none, floyd-steinberg, or bayer-N: ordered, with an N×N matrix.
    """
    pixels = to_bytes(image[..., :3]).numpy()
    images = [_quantize(Pillow.fromarray(part), colors, dither) for part in pixels]
    return torch.from_numpy(np.stack(images).astype(np.float32) / 255.0)


def _quantize(image: Pillow.Image, colors: int, dither: str) -> np.ndarray:
    palette = image.quantize(colors=colors)
    method = Pillow.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Pillow.Dither.NONE
    if dither.startswith("bayer-"):
        image = _add_bayer_pattern(image, int(dither.removeprefix("bayer-")), colors)
    quantized = image.quantize(colors=colors, palette=palette, dither=method)
    return np.asarray(quantized.convert("RGB"))


def _add_bayer_pattern(image: Pillow.Image, order: int, colors: int) -> Pillow.Image:
    """Add a Bayer matrix in -½..½, scaled to twice the mean distance of `colors` levels."""
    pixels = np.asarray(image).astype(np.float32)
    matrix = bayer(order)
    height, width = pixels.shape[:2]
    tiles = np.tile(matrix, (-(-height // order), -(-width // order)))[:height, :width, None]
    spread = 2 * 256 / colors
    return Pillow.fromarray(np.clip(pixels + spread * tiles, 0, 255).astype(np.uint8))


def bayer(order: int) -> np.ndarray:
    """Return the N×N Bayer matrix, N a power of two, in -½..½ (B. E. Bayer, ICC 1973)."""
    matrix = np.zeros((1, 1))
    while len(matrix) < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return np.asarray(matrix / matrix.size - 0.5, dtype=np.float32)


def morph(image: Tensor, operation: str, size: int) -> Tensor:
    """Apply a morphological operation with a `size`×`size` square.

    Pixels outside the image are ignored.

    Args:
        operation: erode, dilate, open, close, gradient, top_hat or bottom_hat.
    """
    match operation:
        case "erode":
            return _erode(image, size)
        case "dilate":
            return _dilate(image, size)
        case "open":
            return _dilate(_erode(image, size), size)
        case "close":
            return _erode(_dilate(image, size), size)
        case "gradient":
            return _dilate(image, size) - _erode(image, size)
        case "top_hat":
            return image - morph(image, "open", size)
        case "bottom_hat":
            return morph(image, "close", size) - image
    raise ValueError(f"unknown operation {operation!r}")


def _dilate(image: Tensor, size: int) -> Tensor:
    before, after = size // 2, size - size // 2 - 1
    return max_filter(max_filter(image, 1, before, after), 2, before, after)


def _erode(image: Tensor, size: int) -> Tensor:
    return -_dilate(-image, size)
