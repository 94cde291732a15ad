"""Operations on latents as values: on a latent, or on the guidance of each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..images.filters import convolve, sharpening_kernel
from ..networks.patch import GuidancePatch, GuidanceStep

TINY = 1e-10


class LatentOperation(Protocol):
    """What an operation is: a function of B×C×h×w, told apart by its repr."""

    def __call__(self, samples: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Tonemap:
    """Compress the lengths of the channel vectors, so that none passes the white point.

    The white point is the mean length and five standard deviations, for each latent by itself.

    Args:
        multiplier: of the white point; lower compresses more.

    Source: Reinhard et al., "Photographic Tone Reproduction for Digital Images" (2002), eq. 3.
    """

    multiplier: float = 1.0

    def __call__(self, samples: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(samples, dim=1, keepdim=True) + TINY
        over = tuple(range(1, length.ndim))
        spread = length.std(over, keepdim=True)
        white = (length.mean(over, keepdim=True) + 5 * spread) * self.multiplier
        share = length / white
        return samples / length * (share / (1 + share)) * white


@dataclass(frozen=True)
class Sharpen:
    """Sharpen the directions of the channel vectors, whose lengths stay what they were.

    Args:
        radius: of the kernel, in cells.
        sigma: of its Gaussian.
        alpha: how much.
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
    """An operation on what guidance adds to the negative side; on D itself where none is added."""

    operation: LatentOperation

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        """The positive side, moved; the negative side stays."""
        if step.positive is step.negative:
            changed = self.operation(step.positive)
            return changed, changed
        return self.operation(step.positive - step.negative) + step.negative, step.negative
