"""Guidance by projections: of the negative side, and of the difference of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class ZeroStarGuidance(GuidancePatch):
    """Scales the negative side to its best match with the positive one before guidance.

    With s = <x - p, x - n> / |x - n|^2 for the sides p and n of each image, the mix is
    s n + cfg (p - s n).

    Source: CFG-Zero* (arXiv 2503.18886), equation 8, on D as in ComfyUI's node of this name.
    """

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        positive, negative = step.x - step.positive, step.x - step.negative
        scale = _dot(positive, negative) / (_dot(negative, negative) + 1e-8)
        return denoised + step.negative * (scale - 1) * (1 - step.cfg)


@dataclass(frozen=True)
class ProjectedGuidance(GuidancePatch):
    """Adaptive projected guidance: guides mainly across the direction of the positive side.

    Args:
        eta: share of the part of the guidance along the positive side.
        limit: largest length of the guidance of an image; 0 has no limit.
        momentum: share of the guidance of earlier steps that is added; negative pushes away.

    Source: Sadat et al. (arXiv 2410.02416), algorithm 1.
    """

    eta: float = 1.0
    limit: float = 5.0
    momentum: float = 0.0

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        if step.positive is step.negative or step.cfg == 0:
            return step.positive, step.negative
        guidance = self._add_momentum(step, step.positive - step.negative)
        if self.limit > 0:
            length = torch.linalg.vector_norm(guidance, dim=(1, 2, 3), keepdim=True)
            guidance = guidance * (self.limit / length).clamp(max=1.0)
        direction = torch.nn.functional.normalize(step.positive.flatten(1)).view_as(step.positive)
        along = _dot(guidance, direction) * direction
        update = guidance - along + self.eta * along
        # Guidance then gives positive + cfg update.
        sides = (step.positive - step.negative) / step.cfg
        return step.negative + update + sides, step.negative

    def _add_momentum(self, step: GuidanceStep, guidance: Tensor) -> Tensor:
        """Return the guidance with that of earlier steps; a higher sigma begins a new run."""
        if self.momentum == 0:
            return guidance
        recorded, key = step.state.recorded, self.fingerprint
        earlier, sigma = recorded.get(f"{key} average"), recorded.get(f"{key} sigma")
        if earlier is not None and sigma is not None and step.sigma <= sigma:
            guidance = self.momentum * earlier + guidance
        recorded[f"{key} average"], recorded[f"{key} sigma"] = guidance, step.sigma
        return guidance


@dataclass(frozen=True)
class TangentialDamping(GuidancePatch):
    """Keeps of the negative score only what is along the direction that both scores share.

    This is the first right singular vector of the scores D - x of both sides of an image.

    Source: TCFG (arXiv 2503.18137), algorithm 1.
    """

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        if step.positive is step.negative:
            return step.positive, step.negative
        scores = [(side - step.x).float() for side in (step.positive, step.negative)]
        pair = torch.stack([score.flatten(1) for score in scores], dim=1)
        # The vector is a combination of both scores, with weights from their products.
        weights = torch.linalg.eigh(pair @ pair.mT).eigenvectors[:, :, -1:]
        direction = torch.nn.functional.normalize((weights * pair).sum(dim=1))
        shared = direction.view_as(step.x)
        damped = _dot(scores[1], shared) * shared
        return step.positive, step.x + damped.to(step.x.dtype)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner product of each image of two batches, B×1×1×1."""
    return (first * second).sum(dim=(1, 2, 3), keepdim=True)
