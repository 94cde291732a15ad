"""Guidance whose result is at most as large as the positive side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class CellNormLimit(GuidancePatch):
    """Shortens the channel vector of each cell of the guided D to that of the positive side.

    Args:
        strength: factor on the result.

    Source: ComfyUI's CFGNorm.
    """

    strength: float = 1.0

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        limit = torch.linalg.vector_norm(step.positive, dim=1, keepdim=True)
        length = torch.linalg.vector_norm(denoised, dim=1, keepdim=True)
        scale: Tensor = (limit / (length + 1e-8)).clamp(max=1.0) * self.strength
        return denoised * scale


@dataclass(frozen=True)
class RenormalizedGuidance(GuidancePatch):
    """Guides below a sigma, and shortens the guided D of each image to a multiple of the positive.

    Args:
        below: the sigma; at it and above, the result is the positive side.
        limit: the multiple; 0 has no limit.

    Source: the renormalized guidance of Lumina-Image 2.0 (arXiv 2503.21758).
    """

    below: float = 100.0
    limit: float = 1.0

    def mix(self, step: GuidanceStep) -> Tensor:
        if float(step.sigma) >= self.below:
            return step.positive
        guided = step.negative + step.cfg * (step.positive - step.negative)
        if self.limit <= 0:
            return guided
        allowed = self.limit * torch.linalg.vector_norm(step.positive, dim=(1, 2, 3), keepdim=True)
        length = torch.linalg.vector_norm(guided, dim=(1, 2, 3), keepdim=True)
        return guided * torch.where(length >= allowed, allowed / length, 1.0)
