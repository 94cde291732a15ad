"""Mahiro: guidance by direction, as far as the two sides agree."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class MahiroGuidance(GuidancePatch):
    """Mixes guidance with the positive side alone, times cfg.

    With p = cfg·positive, n = cfg·negative and g the guided answer, s is the mean over the
    places of the batch of the cosine, over the channels, between the signed square roots of n
    and of (p + g)/2. The mix is ((1 + s)·g + (1 - s)·p) / 2: guidance where both sides go one
    way, the positive side alone where they go opposite ways.

    Source: the guidance of this name in Euge's ComfyUI-Mahiro, which ComfyUI ships.
    """

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        positive, negative = step.positive * step.cfg, step.negative * step.cfg
        middle = (positive + denoised) / 2
        agreed = cosine_similarity(_root(negative), _root(middle), dim=1)
        share = (1 + agreed.mean()) / 2
        return share * denoised + (1 - share) * positive


def _root(x: Tensor) -> Tensor:
    return x.abs().sqrt() * x.sign()
