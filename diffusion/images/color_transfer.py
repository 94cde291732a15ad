"""Colours of one image with the statistics of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .lab import to_lab, to_rgb

Method = Literal["reinhard_lab", "mkl_lab", "histogram"]
LEVELS = 256
# Below this share of the largest variance, a direction of colours counts as constant.
FLAT = 1e-12


def transfer_colors(
    target: Tensor, reference: Tensor, method: Method, strength: float, frame: int | None = None
) -> Tensor:
    """Return images B×H×W×C with colours that are distributed as in other images.

    Args:
        target: the images; channels after the third stay.
        reference: the images whose statistics the result has, all together.
        method: reinhard_lab matches mean and spread of each Lab channel (Reinhard et al. 2001),
            mkl_lab their means and covariance (Pitié and Kokaram 2007), histogram the histogram
            of each of R, G and B.
        strength: share of the change; 0 changes nothing.
        frame: index of the image whose statistics count for all; -1 takes those of all images
            together, None those of each image by itself.
    """
    if frame is None:
        parts = [_transfer(image[None], image[None], reference, method) for image in target]
        changed = torch.cat(parts)
    else:
        source = target if frame < 0 else target[min(frame, len(target) - 1)][None]
        changed = _transfer(target, source, reference, method)
    colors = target[..., :3]
    if method == "histogram":
        mixed = (colors + strength * (changed - colors)).clamp(0.0, 1.0)
    else:
        lab = to_lab(colors)
        mixed = to_rgb(lab + strength * (changed - lab))
    return torch.cat([mixed.to(target.dtype), target[..., 3:]], dim=-1)


def _transfer(images: Tensor, source: Tensor, reference: Tensor, method: Method) -> Tensor:
    """Return changed colours: RGB for histograms, else Lab."""
    if method == "histogram":
        return _match_histograms(images[..., :3], source[..., :3], reference[..., :3])
    lab, samples, wanted = (to_lab(batch[..., :3]) for batch in (images, source, reference))
    change = _reinhard if method == "reinhard_lab" else _optimal_transport
    return change(samples.flatten(0, 2), wanted.flatten(0, 2))(lab)


def _reinhard(samples: Tensor, wanted: Tensor) -> Callable[[Tensor], Tensor]:
    spread = samples.std(dim=0, correction=0).clamp(min=FLAT)
    scale = wanted.std(dim=0, correction=0) / spread
    return lambda lab: (lab - samples.mean(dim=0)) * scale + wanted.mean(dim=0)


def _optimal_transport(samples: Tensor, wanted: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the linear map between normal distributions that moves colours least."""
    first, second = (torch.cov(colors.T, correction=0) for colors in (samples, wanted))
    root, inverse = _matrix_power(first, 0.5), _matrix_power(first, -0.5)
    matrix = inverse @ _matrix_power(root @ second @ root, 0.5) @ inverse
    return lambda lab: (lab - samples.mean(dim=0)) @ matrix.T + wanted.mean(dim=0)


def _matrix_power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric matrix; constant directions become 0."""
    values, vectors = torch.linalg.eigh(matrix)
    is_flat = values <= max(float(values[-1]), 0.0) * FLAT
    powers = values.clamp(min=torch.finfo(values.dtype).tiny) ** exponent
    power: Tensor = vectors @ torch.diag(powers.masked_fill(is_flat, 0.0)) @ vectors.T
    return power


def _match_histograms(images: Tensor, source: Tensor, reference: Tensor) -> Tensor:
    """Return images in 8 bits whose channels have the cumulative histograms of others."""
    channels = []
    for channel in range(3):
        shares = [_cumulative(batch[..., channel]) for batch in (source, reference)]
        table = torch.searchsorted(shares[1], shares[0]).clamp(max=LEVELS - 1)
        levels = table[_levels(images[..., channel])]
        channels.append(levels.to(torch.float32) / (LEVELS - 1))
    return torch.stack(channels, dim=-1)


def _levels(values: Tensor) -> Tensor:
    return (values.float() * (LEVELS - 1)).long().clamp(0, LEVELS - 1)


def _cumulative(values: Tensor) -> Tensor:
    """Return the shares of values up to each of 256 levels."""
    counts = torch.bincount(_levels(values).flatten(), minlength=LEVELS)
    return counts.cumsum(0).double() / values.numel()
