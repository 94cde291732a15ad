"""Perturbed-attention guidance: away from a prediction without self-attention in the middle."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import SamplingError
from ..networks.attention import find_middle_attentions, replace_processor
from ..networks.patch import GuidancePatch, GuidanceStep


@dataclass(frozen=True)
class PerturbedAttention(GuidancePatch):
    """A third call a step, whose self-attention in the middle block is the identity.

    Args:
        scale: factor of the difference from the perturbed prediction; 0 changes nothing.

    Source: Ahn et al., "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance"
    (arXiv 2403.17377), equation 16.
    """

    scale: float = 3.0

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        if self.scale == 0:
            return denoised
        layers = find_middle_attentions(step.network)
        if not layers:
            raise SamplingError(
                "perturbed-attention guidance: expected a model with attention in its middle block"
            )
        with ExitStack() as replaced:
            for layer in layers:
                replaced.enter_context(replace_processor(layer, _own_values))
            perturbed_side = step.denoise(step.x, 0)
        return denoised + (step.positive - perturbed_side) * self.scale


def _own_values(attention: Any, hidden_states: Tensor, *_rest: Any, **_options: Any) -> Tensor:
    """Return the value of each token, as if it attended to itself alone."""
    output: Tensor = attention.to_out[0](attention.to_v(hidden_states))
    return output
