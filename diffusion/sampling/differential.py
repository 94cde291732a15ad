"""Differential diffusion: a grey mask sets how early each cell may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..schedules.model_sampling import ModelSampling

MaskAt = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DifferentialMask:
    """A patch of a model: noise masks become hard and cover more from step to step.

    A cell of value v changes over the last share v of the schedule, counted in timesteps.

    Args:
        strength: share of the hard mask; the rest is the grey mask. 0 means 1, as in ComfyUI.

    Source: Levin and Fried, "Differential Diffusion" (arXiv 2306.00950).
    """

    strength: float = 1.0

    @property
    def fingerprint(self) -> str:
        """Identify the patch by its value."""
        return repr(self)

    def schedule(self, mask: Tensor, sampling: ModelSampling, sigmas: Tensor) -> MaskAt:
        """Return a function from sigma to the mask.

        Args:
            mask: B×1×h×w.
            sigmas: of the run, falling.
        """
        last = sigmas[-1].clamp(min=sampling.sigma_min)
        start, end = (float(sampling.timestep(sigma)) for sigma in (sigmas[0], last))

        def mask_at(sigma: Tensor) -> Tensor:
            passed = float(sampling.timestep(sigma)) - end
            threshold = passed / (start - end) if start > end else 0.0
            hard = (mask >= threshold).to(mask.dtype)
            share = self.strength or 1.0
            return hard * share + mask * (1.0 - share)

        return mask_at
