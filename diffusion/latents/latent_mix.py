"""Latents added, interpolated, joined, turned and cut. Nothing here changes its arguments."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..images.compose import composite, repeat_to_batch
from ..images.resize import resize
from .latents import CELL_PX, Latent

MIN_CELLS = 8


def add(first: Latent, second: Latent) -> Latent:
    """The sum; the second is fitted to the first."""
    return replace(first, samples=first.samples + _fitted(second, first))


def subtract(first: Latent, second: Latent) -> Latent:
    """The difference; the second is fitted to the first."""
    return replace(first, samples=first.samples - _fitted(second, first))


def multiply(latent: Latent, factor: float) -> Latent:
    """Each number times a factor."""
    return replace(latent, samples=latent.samples * factor)


def interpolate(first: Latent, second: Latent, share: float) -> Latent:
    """Mix what points where and how long it is apart, cell by cell.

    Args:
        share: of the first, in directions (which are then made unit vectors again) and lengths.
    """
    ones, others = first.samples, _fitted(second, first)
    lengths = [torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (ones, others)]
    units = [_divided(each, length) for each, length in zip((ones, others), lengths, strict=True)]
    mixed = units[0] * share + units[1] * (1 - share)
    direction = _divided(mixed, torch.linalg.vector_norm(mixed, dim=1, keepdim=True))
    return replace(first, samples=direction * (lengths[0] * share + lengths[1] * (1 - share)))


def join(first: Latent, second: Latent) -> Latent:
    """One batch of two, each with the noise that it would have alone; the size is the first's."""
    samples = second.samples
    if samples.shape[1:] != first.shape[1:]:
        samples = resize(samples, first.shape[-1], first.shape[-2], "bilinear", "center")
    indices = [each.batch_index or tuple(range(len(each.samples))) for each in (first, second)]
    return replace(
        first,
        samples=torch.cat([first.samples, samples]),
        batch_index=(*indices[0], *indices[1]),
    )


def with_one_noise(latent: Latent) -> Latent:
    """Each latent of the batch takes the noise of the first."""
    draw = (latent.batch_index or (0,))[0]
    return replace(latent, batch_index=(draw,) * len(latent.samples))


def crop(latent: Latent, width: int, height: int, x: int, y: int) -> Latent:
    """A window of a size in pixels at a place in pixels, cut at the edges.

    It starts at least 64 pixels before the right and the lower edge.
    """
    old_height, old_width = latent.shape[-2:]
    left = max(0, min(x // CELL_PX, old_width - MIN_CELLS))
    top = max(0, min(y // CELL_PX, old_height - MIN_CELLS))
    window = latent.samples[..., top : top + height // CELL_PX, left : left + width // CELL_PX]
    return replace(latent, samples=window.clone())


def flip(latent: Latent, upright: bool) -> Latent:
    """Turned upside down, or mirrored."""
    return replace(latent, samples=latent.samples.flip(2 if upright else 3))


def rotate(latent: Latent, quarters: int) -> Latent:
    """Turned clockwise by quarters of a turn."""
    return replace(latent, samples=latent.samples.rot90(quarters, dims=(3, 2)))


def paste_masked(
    target: Latent, source: Latent, x: int, y: int, mask: Tensor | None, fit: bool
) -> Latent:
    """Paste with its corner at a place in pixels, where a mask over the source shows it.

    Args:
        mask: B×H×W, resized to the source; None shows it all.
        fit: first stretch the source to the target's size.
    """
    images = [each.samples.movedim(1, -1) for each in (target, source)]
    pasted = composite(images[0], images[1], x // CELL_PX, y // CELL_PX, mask, fit)
    return replace(target, samples=pasted.movedim(-1, 1).contiguous())


def _fitted(latent: Latent, to: Latent) -> Tensor:
    samples = latent.samples
    if samples.shape[1:] != to.shape[1:]:
        samples = resize(samples, to.shape[-1], to.shape[-2], "bilinear", "center")
    return repeat_to_batch(samples, to.shape[0])


def _divided(vectors: Tensor, lengths: Tensor) -> Tensor:
    """Vectors by their lengths; those of no length stay 0."""
    return torch.where(lengths > 0, vectors / lengths, torch.zeros_like(vectors))
