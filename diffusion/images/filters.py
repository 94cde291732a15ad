"""Filters of images B×H×W×C in 0..1: blur, sharpen, noise, few colours, morphology."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn.functional import conv2d

from .images import to_bytes
from .masks import highest


def gaussian_kernel(radius: int, sigma: float) -> Tensor:
    """A (2r+1)×(2r+1) Gaussian of sum 1; `sigma` is in units of the radius, as in ComfyUI."""
    line = torch.linspace(-1, 1, 2 * radius + 1)
    squares = line[:, None] ** 2 + line[None] ** 2
    kernel = torch.exp(-squares / (2.0 * sigma * sigma))
    return kernel / kernel.sum()


def blur(image: Tensor, radius: int, sigma: float) -> Tensor:
    """A Gaussian blur; the image is mirrored beyond its edges."""
    return convolve(image.movedim(-1, 1), gaussian_kernel(radius, sigma)).movedim(1, -1)


def sharpen(image: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Unsharp masking: the image plus 10·alpha times what a blur takes away, cut to 0..1."""
    kernel = sharpening_kernel(radius, sigma, alpha)
    return convolve(image.movedim(-1, 1), kernel).movedim(1, -1).clamp(0.0, 1.0)


def sharpening_kernel(radius: int, sigma: float, alpha: float) -> Tensor:
    """The kernel of `sharpen`, of sum 1."""
    kernel = gaussian_kernel(radius, sigma) * (-10.0 * alpha)
    kernel[radius, radius] += 1.0 - kernel.sum()
    return kernel


def convolve(samples: Tensor, kernel: Tensor) -> Tensor:
    """Each channel of B×C×H×W with one odd kernel, mirrored beyond the edges (edges once)."""
    rows, columns = (_mirror(size, kernel.shape[0] // 2) for size in samples.shape[-2:])
    padded = samples[..., rows, :][..., columns]
    channels = samples.shape[1]
    return conv2d(padded, kernel.repeat(channels, 1, 1, 1), groups=channels)


def _mirror(size: int, margin: int) -> Tensor:
    """Places to read so that a side is mirrored at its ends, as often as needed."""
    period = max(1, 2 * (size - 1))
    place = torch.arange(-margin, size + margin) % period
    return torch.where(place < size, place, period - place)


def add_noise(image: Tensor, seed: int, strength: float) -> Tensor:
    """The image plus `strength` times normal noise from a CPU generator, cut to 0..1."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(image.shape, generator=generator)
    return (image + strength * noise).clamp(0.0, 1.0)


def quantize(image: Tensor, colors: int, dither: str) -> Tensor:
    """Each image in a palette of its own of at most so many colours (median cut).

    Args:
        dither: none, floyd-steinberg, or bayer-N: ordered, with an N×N matrix.
    """
    levels = to_bytes(image[..., :3]).numpy()
    images = [_quantized(Pillow.fromarray(each), colors, dither) for each in levels]
    return torch.from_numpy(np.stack(images).astype(np.float32) / 255.0)


def _quantized(image: Pillow.Image, colors: int, dither: str) -> np.ndarray:
    palette = image.quantize(colors=colors)
    method = Pillow.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Pillow.Dither.NONE
    if dither.startswith("bayer-"):
        image = _ordered(image, int(dither.removeprefix("bayer-")), colors)
    found = image.quantize(colors=colors, palette=palette, dither=method)
    return np.asarray(found.convert("RGB"))


def _ordered(image: Pillow.Image, order: int, colors: int) -> Pillow.Image:
    """Add a Bayer matrix in -½..½ times twice the mean distance of so many levels."""
    pixels = np.asarray(image).astype(np.float32)
    matrix = bayer(order)
    height, width = pixels.shape[:2]
    tiles = np.tile(matrix, (-(-height // order), -(-width // order)))[:height, :width, None]
    spread = 2 * 256 / colors
    return Pillow.fromarray(np.clip(pixels + spread * tiles, 0, 255).astype(np.uint8))


def bayer(order: int) -> np.ndarray:
    """Bayer's N×N threshold matrix, N a power of two, in -½..½ (B. E. Bayer, ICC 1973)."""
    matrix = np.zeros((1, 1))
    while len(matrix) < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return np.asarray(matrix / matrix.size - 0.5, dtype=np.float32)


def morph(image: Tensor, operation: str, size: int) -> Tensor:
    """Morphology with a `size`×`size` square: erode, dilate, open, close, gradient, hats.

    The world beyond the edge counts as nothing.
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
    raise ValueError(f"no operation {operation!r}")


def _dilate(image: Tensor, size: int) -> Tensor:
    before, after = size // 2, size - size // 2 - 1
    return highest(highest(image, 1, before, after), 2, before, after)


def _erode(image: Tensor, size: int) -> Tensor:
    return -_dilate(-image, size)
