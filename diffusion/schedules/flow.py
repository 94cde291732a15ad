"""Flow-matching models: levels from 0 to 1 where a latent is (1 - sigma) image + sigma noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..families.family import Prediction
from .model_sampling import ModelSampling


@dataclass(frozen=True)
class FlowSampling(ModelSampling):
    """Levels of a model that gives the way from the image to the noise.

    Args:
        shift: above 1 spends more of the schedule at high levels: t becomes s t / (1 + (s - 1) t).
        multiplier: what the network is told of level 1.
        timesteps: length of the table.

    Source: rectified flow (arXiv 2209.03003); the shift is that of SD3 (arXiv 2403.03206, 5.3.2).
    """

    prediction: Prediction = "flow"
    shift: float = 3.0
    multiplier: float = 1000.0

    @cached_property
    def sigmas(self) -> Tensor:
        """The level of each timestep, ascending, float32."""
        return self.apply_shift(torch.arange(1, self.timesteps + 1) / self.timesteps)

    def apply_shift(self, share: Tensor) -> Tensor:
        """The level at a share of the way from image (0) to noise (1)."""
        return self.shift * share / (1 + (self.shift - 1) * share)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at what the network would be told of it without a shift."""
        return self.apply_shift(timestep / self.multiplier)

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told of a level."""
        return sigma * self.multiplier

    def percent_to_sigma(self, percent: float) -> float:
        """The level at a share of the way from full noise (0) to none (1)."""
        if percent <= 0:
            return 1.0
        if percent >= 1:
            return 0.0
        share = 1.0 - percent
        return self.shift * share / (1 + (self.shift - 1) * share)

    def add_noise(
        self,
        latent: Tensor,
        noise: Tensor,
        sigma: Tensor,
        max_denoise: bool,  # noqa: ARG002 - level 1 is pure noise without it
    ) -> Tensor:
        """A latent at noise level sigma."""
        return (1 - sigma) * latent + sigma * noise

    def undo_noise_scaling(self, x: Tensor, sigma: Tensor) -> Tensor:
        """A latent as sampling leaves it at its last level, its image at full strength."""
        return x / (1 - sigma)


def flux_shift(width: int, height: int, base: float, most: float) -> float:
    """The shift for an image: the logarithm goes linearly from `base` at 256 patches of 16 x 16
    pixels to `most` at 4096.

    Source: the sampling of FLUX.1 (Black Forest Labs, Apache 2.0).
    """
    patches = width * height / 16**2
    return math.exp(base + (most - base) * (patches - 256) / (4096 - 256))
