"""Rescaled guidance: undo the contrast that guidance adds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class RescaleGuidance(GuidancePatch):
    """Guidance of velocities, rescaled to the standard deviation of the positive side.

    Args:
        multiplier: share of the rescaled velocity; 0 is plain guidance.

    Source: Lin et al., "Common Diffusion Noise Schedules and Sample Steps Are Flawed"
    (arXiv 2305.08891), section 3.4.
    """

    multiplier: float = 0.7

    def mix(self, step: GuidanceStep) -> Tensor:
        square = step.sigma**2 + 1
        root, start = square**0.5, step.x / square
        positive, negative = (
            (start - side) * root / step.sigma for side in (step.positive, step.negative)
        )
        guided = negative + step.cfg * (positive - negative)
        spread = positive.std(dim=(1, 2, 3), keepdim=True)
        rescaled = guided * (spread / guided.std(dim=(1, 2, 3), keepdim=True))
        velocity = self.multiplier * rescaled + (1.0 - self.multiplier) * guided
        return start - velocity * step.sigma / root
