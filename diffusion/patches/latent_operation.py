"""Operations on latents, applied to a latent or to the guidance of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..images.filters import convolve, sharpening_kernel
from ..networks.patch import GuidancePatch, GuidanceStep

TINY = 1e-10


class LatentOperation(Protocol):
    """A function of B×C×h×w whose repr identifies it."""

    def __call__(self, samples: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Tonemap:
    """Compress the lengths of the channel vectors below a white point.

    The white point is the mean length plus five standard deviations, for each latent by itself.

    Args:
        multiplier: of the white point; lower compresses more.

    Source: Reinhard et al., "Photographic Tone Reproduction for Digital Images" (2002), eq. 3.
    """

    multiplier: float = 1.0

    def __call__(self, samples: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(samples, dim=1, keepdim=True) + TINY
        axes = tuple(range(1, length.ndim))
        spread = length.std(axes, keepdim=True)
        white = (length.mean(axes, keepdim=True) + 5 * spread) * self.multiplier
        share = length / white
        return samples / length * (share / (1 + share)) * white


@dataclass(frozen=True)
class Sharpen:
    """Sharpen the directions of the channel vectors and keep their lengths.

    Args:
        radius: of the kernel, in cells.
        sigma: of its Gaussian, in cells.
        alpha: strength.
    """

    radius: int = 9
    sigma: float = 1.0
    alpha: float = 0.1

    def __call__(self, samples: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(samples, dim=1, keepdim=True) + TINY
        kernel = sharpening_kernel(self.radius, self.sigma, self.alpha).to(samples)
        return convolve(samples / length, kernel) * length


@dataclass(frozen=True)
class OperatedGuidance(GuidancePatch):
    """Applies an operation to the difference of the sides, or to D where there is one side."""

    operation: LatentOperation

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        """Change the positive side; the negative side stays."""
        if step.positive is step.negative:
            changed = self.operation(step.positive)
            return changed, changed
        return self.operation(step.positive - step.negative) + step.negative, step.negative
