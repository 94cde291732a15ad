"""Self-attention guidance: away from an image blurred where the network attends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from ..errors import SamplingError
from ..networks.attention import find_middle_attentions, replace_processor
from ..networks.patch import GuidancePatch, GuidanceStep, StepState

KERNEL = 9
THRESHOLD = 1.0
MIN_SIDE = 4


@dataclass(frozen=True)
class SelfAttentionGuidance(GuidancePatch):
    """A third call a step, on the negative side's D, blurred where attention concentrates.

    Latents with a side of at most 4 cells are not changed.

    Args:
        scale: factor of the difference from the blurred prediction; 0 changes nothing.
        blur_sigma: of the Gaussian, 9 cells wide.

    Source: Hong et al., "Improving Sample Quality of Diffusion Models Using Self-Attention
    Guidance" (arXiv 2210.00939), algorithm 1; constants as in diffusers' SAG pipeline.
    """

    needs_negative = True

    scale: float = 0.5
    blur_sigma: float = 2.0

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Record the negative side's attention map of the middle block."""
        layers = find_middle_attentions(network)
        if not layers:
            raise SamplingError(
                "self-attention guidance: expected a model with attention in its middle block"
            )

        def record(attention: Any, hidden_states: Tensor, *_rest: Any, **_options: Any) -> Tensor:
            query, key, value = (
                attention.head_to_batch_dim(project(hidden_states))
                for project in (attention.to_q, attention.to_k, attention.to_v)
            )
            scores = (query @ key.transpose(-1, -2) * attention.scale).softmax(dim=-1)
            if 1 in state.sides:
                by_side = scores.chunk(len(state.sides))
                state.recorded[self.fingerprint] = by_side[state.sides.index(1)]
            output: Tensor = attention.to_out[0](attention.batch_to_head_dim(scores @ value))
            return output

        with replace_processor(layers[0], record):
            yield

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        scores = step.state.recorded.get(self.fingerprint)
        if scores is None or min(denoised.shape[2:]) <= MIN_SIDE:
            return denoised
        degraded = _blur_attended(step.negative, scores, self.blur_sigma)
        degraded_side = step.denoise(degraded + step.x - step.negative, 1)
        return denoised + (degraded - degraded_side) * self.scale


def _blur_attended(latent: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """Blur a latent where attention sums to more than an even share.

    Args:
        scores: (batch·heads)×n×n.
    """
    batch, _, height, width = latent.shape
    by_image = scores.reshape(batch, -1, *scores.shape[-2:])
    is_attended = by_image.mean(1).sum(1) > THRESHOLD
    factor = math.ceil(math.sqrt(height * width / scores.shape[-1]))
    size = (math.ceil(height / factor), math.ceil(width / factor))
    if math.prod(size) != scores.shape[-1]:
        raise SamplingError(
            "self-attention guidance: expected a model that sees the whole latent, got one that "
            "sees tiles or a smaller one"
        )
    mask = is_attended.reshape(batch, 1, *size).to(latent.dtype)
    mask = interpolate(mask, (height, width))
    return _blur(latent, sigma) * mask + latent * (1 - mask)


def _blur(latent: Tensor, sigma: float) -> Tensor:
    if sigma == 0:
        return latent
    offsets = torch.arange(KERNEL, dtype=latent.dtype, device=latent.device) - KERNEL // 2
    line = torch.softmax(-0.5 * (offsets / sigma) ** 2, dim=0)
    channels = latent.shape[1]
    kernel = torch.outer(line, line).expand(channels, 1, KERNEL, KERNEL)
    return conv2d(pad(latent, [KERNEL // 2] * 4, "reflect"), kernel, groups=channels)
