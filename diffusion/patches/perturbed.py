"""Perturbed attention: away from what the network says when its middle looks nowhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import SamplingError
from ..networks.attention import middle_attentions, replace_processor
from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class PerturbedAttention(GuidancePatch):
    """A third call a step, whose self-attention in the middle block is the identity.

    Args:
        scale: how far to go from the perturbed answer past the positive one; 0 is none.

    Source: Ahn et al., "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance"
    (arXiv 2403.17377), equation 16.
    """

    scale: float = 3.0

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        if self.scale == 0:
            return denoised
        layers = middle_attentions(step.network)
        if not layers:
            raise SamplingError("perturbed attention wants a model with attention in its middle")
        with ExitStack() as perturbed:
            for layer in layers:
                perturbed.enter_context(replace_processor(layer, _own_values))
            answer = step.denoise(step.x, 0)
        return denoised + (step.positive - answer) * self.scale


def _own_values(attention: Any, hidden_states: Tensor, *_rest: Any, **_options: Any) -> Tensor:
    """Each place takes its own value, as if it attended to itself alone."""
    found: Tensor = attention.to_out[0](attention.to_v(hidden_states))
    return found
