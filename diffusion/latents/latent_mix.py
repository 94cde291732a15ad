"""Add, interpolate, join, rotate and crop latents. Nothing here changes its arguments."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from ..images.compose import composite, repeat_to_batch
from ..images.resize import resize
from .latents import CELL_PX, Latent

MIN_CELLS = 8


def add(first: Latent, second: Latent) -> Latent:
    """Return the sum; the second is resized to the first."""
    return replace(first, samples=first.samples + _fit(second, first))


def subtract(first: Latent, second: Latent) -> Latent:
    """Return the difference; the second is resized to the first."""
    return replace(first, samples=first.samples - _fit(second, first))


def multiply(latent: Latent, factor: float) -> Latent:
    """Multiply by a factor."""
    return replace(latent, samples=latent.samples * factor)


def interpolate(first: Latent, second: Latent, share: float) -> Latent:
    """Interpolate directions and lengths of the cells' vectors separately.

    Args:
        share: of the first, in directions (normalized again) and in lengths.
    """
    samples = (first.samples, _fit(second, first))
    lengths = [torch.linalg.vector_norm(vectors, dim=1, keepdim=True) for vectors in samples]
    units = [_divide(*pair) for pair in zip(samples, lengths, strict=True)]
    mixed = units[0] * share + units[1] * (1 - share)
    direction = _divide(mixed, torch.linalg.vector_norm(mixed, dim=1, keepdim=True))
    return replace(first, samples=direction * (lengths[0] * share + lengths[1] * (1 - share)))


def join(first: Latent, second: Latent) -> Latent:
    """Join two batches; every latent keeps its own noise, and the size is that of the first."""
    samples = second.samples
    if samples.shape[1:] != first.shape[1:]:
        samples = resize(samples, first.shape[-1], first.shape[-2], "bilinear", "center")
    indices = [
        latent.batch_index or tuple(range(len(latent.samples))) for latent in (first, second)
    ]
    return replace(
        first,
        samples=torch.cat([first.samples, samples]),
        batch_index=(*indices[0], *indices[1]),
    )


def with_one_noise(latent: Latent) -> Latent:
    """Give every latent of the batch the noise of the first."""
    draw = (latent.batch_index or (0,))[0]
    return replace(latent, batch_index=(draw,) * len(latent.samples))


def crop(latent: Latent, width: int, height: int, x: int, y: int) -> Latent:
    """Crop to a size and a position in pixels, clipped at the edges.

    The crop starts at least 64 pixels before the right and the bottom edge.
    """
    old_height, old_width = latent.shape[-2:]
    left = max(0, min(x // CELL_PX, old_width - MIN_CELLS))
    top = max(0, min(y // CELL_PX, old_height - MIN_CELLS))
    window = latent.samples[..., top : top + height // CELL_PX, left : left + width // CELL_PX]
    return replace(latent, samples=window.clone())


AXES = {"x": -1, "y": -2, "t": -3}


def cut(latent: Latent, axis: str, start: int, length: int) -> Latent:
    """Cut `length` cells from `start`, which may count from the end, along x, y or t.

    Raises:
        UnsuitableValueError: the latent has no axis t.
    """
    dim = _axis(latent, axis)
    size = latent.shape[dim]
    start = min(start, size - 1) if start >= 0 else max(size + start, 0)
    strip = latent.samples.narrow(dim, start, min(length, size - start))
    return replace(latent, samples=strip.clone())


def concatenate(like: Latent, first: Latent, second: Latent, axis: str) -> Latent:
    """Join two latents along x, y or t; the smaller batch is repeated.

    Args:
        like: the latent whose extras the result has.

    Raises:
        UnsuitableValueError: there is no axis t, or other axes differ.
    """
    dim = _axis(first, axis)
    batch = like.shape[0]
    parts = [repeat_to_batch(latent.samples, batch) for latent in (first, second)]
    sizes = [list(part.shape) for part in parts]
    for size in sizes:
        if len(size) == len(sizes[0]):
            size[dim] = 0
    if sizes[0] != sizes[1]:
        expected = f"latents of one size but along {axis}"
        raise UnsuitableValueError(expected, f"{tuple(first.shape)} and {tuple(second.shape)}")
    return replace(like, samples=torch.cat(parts, dim=dim), noise_mask=None)


def _axis(latent: Latent, axis: str) -> int:
    if axis == "t" and latent.samples.ndim < 5:
        raise UnsuitableValueError("an axis of the latents (x, y)", "t, of latents with frames")
    return AXES[axis]


def flip(latent: Latent, vertically: bool) -> Latent:
    """Flip upside down, or left to right."""
    return replace(latent, samples=latent.samples.flip(2 if vertically else 3))


def rotate(latent: Latent, quarters: int) -> Latent:
    """Rotate clockwise by quarter turns."""
    return replace(latent, samples=latent.samples.rot90(quarters, dims=(3, 2)))


def paste_masked(
    target: Latent, source: Latent, x: int, y: int, mask: Tensor | None, fit: bool
) -> Latent:
    """Paste `source` with its top left corner at pixel (x, y), where a mask shows it.

    Args:
        mask: B×H×W over the source, resized to it; None shows all of it.
        fit: stretch the source to the target's size first.
    """
    images = [latent.samples.movedim(1, -1) for latent in (target, source)]
    pasted = composite(images[0], images[1], x // CELL_PX, y // CELL_PX, mask, fit)
    return replace(target, samples=pasted.movedim(-1, 1).contiguous())


def _fit(latent: Latent, to: Latent) -> Tensor:
    samples = latent.samples
    if samples.shape[1:] != to.shape[1:]:
        samples = resize(samples, to.shape[-1], to.shape[-2], "bilinear", "center")
    return repeat_to_batch(samples, to.shape[0])


def _divide(vectors: Tensor, lengths: Tensor) -> Tensor:
    """Divide vectors by their lengths; those of length 0 stay 0."""
    return torch.where(lengths > 0, vectors / lengths, torch.zeros_like(vectors))
