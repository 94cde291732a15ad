"""Guidance with separate strengths for low and high frequencies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fft

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class FrequencyGuidance(GuidancePatch):
    """Scales the difference of the positive and the negative side, by frequency.

    Args:
        low: gain of frequencies below `cutoff` along both axes.
        high: gain of the others.
        cutoff: in steps of the discrete Fourier transform.

    Source: Huang et al., "FreSca: Scaling in Frequency Space Enhances Diffusion Models"
    (arXiv 2504.02154).
    """

    low: float = 1.0
    high: float = 1.25
    cutoff: int = 20

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        difference = step.positive - step.negative
        return step.negative + self._scale(difference), step.negative

    def _scale(self, difference: Tensor) -> Tensor:
        waves = fft.fftshift(fft.fft2(difference.float()), dim=(-2, -1))
        gains = torch.full(waves.shape[-2:], self.high, device=waves.device)
        rows, columns = (
            slice(max(size // 2 - self.cutoff, 0), size // 2 + self.cutoff)
            for size in waves.shape[-2:]
        )
        gains[rows, columns] = self.low
        scaled: Tensor = fft.ifft2(fft.ifftshift(waves * gains, dim=(-2, -1))).real
        return scaled.to(difference.dtype)
