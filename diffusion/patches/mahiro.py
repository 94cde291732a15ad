"""Mahiro: guidance that depends on how far the directions of both sides agree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class MahiroGuidance(GuidancePatch):
    """Mixes the guided D with the positive side times cfg.

    Let p = cfg·positive, n = cfg·negative and g the guided D. s is the cosine, over the channels,
    of the signed square roots of n and of (p + g)/2, averaged over the cells of the batch. The
    mix is ((1 + s)·g + (1 - s)·p) / 2: g where the directions agree, p where they are opposite.

    Source: the guidance of this name in Euge's ComfyUI-Mahiro, which ComfyUI ships.
    """

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        positive, negative = step.positive * step.cfg, step.negative * step.cfg
        middle = (positive + denoised) / 2
        similarity = cosine_similarity(_signed_root(negative), _signed_root(middle), dim=1)
        share = (1 + similarity.mean()) / 2
        return share * denoised + (1 - share) * positive


def _signed_root(x: Tensor) -> Tensor:
    return x.abs().sqrt() * x.sign()
