"""Scaled predictions of noise, and guidance of another strength within a range of sigmas."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class EpsilonScaling(GuidancePatch):
    """Divides the predicted noise, against the drift of sampling from training.

    Args:
        divisor: of the noise; above 1 the noise is smaller.

    Source: Ning et al. (arXiv 2308.15321), equation 12.
    """

    divisor: float = 1.005

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        return step.x - (step.x - denoised) / self.divisor


@dataclass(frozen=True)
class TemporalScoreRescaling(GuidancePatch):
    """Scales the predicted noise by r = (s d^2 + 1) / (s d^2 / k + 1).

    s is the ratio of signal to noise at a sigma.

    Args:
        k: temperature of the distribution that is sampled; below 1 images vary less.
        sigma: d, the standard deviation of the data that the rescaling is made for.

    Source: Xu et al. (arXiv 2510.01184), equation 9.
    """

    k: float = 0.95
    sigma: float = 1.0

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        share = 1 - step.sigma if step.state.sampling.prediction == "flow" else 1.0
        if not step.sigma > 0 or not share > 0:
            return denoised
        signal = (share / step.sigma) ** 2 * self.sigma**2
        ratio = (signal + 1) / (signal / self.k + 1)
        noise = (step.x - share * denoised) * ratio
        return (step.x - noise) / share


@dataclass(frozen=True)
class OverriddenGuidance(GuidancePatch):
    """Guides with a strength of its own between two shares of the schedule.

    Args:
        cfg: the strength.
        start, end: shares of the schedule, from 0, noise, to 1.
    """

    cfg: float = 1.0
    start: float = 0.0
    end: float = 1.0

    @property
    def needs_negative(self) -> bool:  # type: ignore[override]
        """True if the strength needs the negative side."""
        return not math.isclose(self.cfg, 1.0)

    def mix(self, step: GuidanceStep) -> Tensor | None:
        if not step.state.is_between(self.start, self.end):
            return None
        return step.negative + (step.positive - step.negative) * self.cfg
