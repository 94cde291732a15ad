"""Flow-matching models: at sigma, 0 to 1, a latent is (1 - sigma) image + sigma noise."""

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
    """Sigmas of a model that predicts the velocity from the image to the noise.

    Args:
        shift: above 1 spends more of the schedule at high sigmas: t becomes s t / (1 + (s - 1) t).
        multiplier: timestep that the network receives for sigma 1.
        timesteps: length of the table.

    Source: rectified flow (arXiv 2209.03003); the shift is that of SD3 (arXiv 2403.03206, 5.3.2).
    """

    prediction: Prediction = "flow"
    shift: float = 3.0
    multiplier: float = 1000.0

    @cached_property
    def sigmas(self) -> Tensor:
        """Return the sigma of each timestep, ascending, float32."""
        return self.apply_shift(torch.arange(1, self.timesteps + 1) / self.timesteps)

    def apply_shift(self, time: Tensor) -> Tensor:
        """Return the sigma at a time between image (0) and noise (1)."""
        return self.shift * time / (1 + (self.shift - 1) * time)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the sigma of an unshifted timestep."""
        return self.apply_shift(timestep / self.multiplier)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the timestep that the network receives for a sigma."""
        return sigma * self.multiplier

    def percent_to_sigma(self, percent: float) -> float:
        """Return the sigma at a share of the schedule, from noise (0) to image (1)."""
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
        max_denoise: bool,  # noqa: ARG002 - sigma 1 is pure noise in any case
    ) -> Tensor:
        """Return a latent with noise at this sigma."""
        return (1 - sigma) * latent + sigma * noise

    def undo_noise_scaling(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return x at the last sigma with its image at full strength."""
        return x / (1 - sigma)


@dataclass(frozen=True)
class FluxSampling(FlowSampling):
    """The same sigmas in the form of FLUX.1's code, whose rounding differs.

    Samplers that act between two sigmas compare with these.
    """

    def apply_shift(self, time: Tensor) -> Tensor:
        """Return the sigma at a time between image (0) and noise (1)."""
        return self.shift / (self.shift + (1 / time - 1))

    def percent_to_sigma(self, percent: float) -> float:
        """Return the sigma at a share of the schedule, from noise (0) to image (1)."""
        if percent <= 0:
            return 1.0
        if percent >= 1:
            return 0.0
        return self.shift / (self.shift + (1 / (1.0 - percent) - 1))


def flux_shift(width: int, height: int, base: float, maximum: float) -> float:
    """Return the shift for images of a size in pixels.

    Its logarithm is linear in the number of 16×16 patches, from `base` at 256 to `maximum` at 4096.

    Source: the sampling of FLUX.1 (Black Forest Labs, Apache 2.0).
    """
    patches = width * height / 16**2
    return math.exp(base + (maximum - base) * (patches - 256) / (4096 - 256))
