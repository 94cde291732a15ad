"""Self-attention guidance: away from an image that is blurred where the network looks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from ..errors import SamplingError
from ..networks.attention import middle_attentions, replace_processor
from ..networks.patch import GuidancePatch, GuidanceStep, StepState

KERNEL = 9
THRESHOLD = 1.0
MIN_SIDE = 4


@dataclass(frozen=True)
class SelfAttentionGuidance(GuidancePatch):
    """A third call a step, with the negative side's D blurred where its attention gathers.

    Latents of at most 4 cells a side are left as they are.

    Args:
        scale: how far to go from the blurred answer; 0 is none.
        blur_sigma: of the Gaussian, 9 cells wide.

    Source: Hong et al., "Improving Sample Quality of Diffusion Models Using Self-Attention
    Guidance" (arXiv 2210.00939), algorithm 1; constants as in diffusers' SAG pipeline.
    """

    needs_negative = True

    scale: float = 0.5
    blur_sigma: float = 2.0

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Keep the negative side's attention map of the middle block."""
        layers = middle_attentions(network)
        if not layers:
            raise SamplingError("self-attention guidance wants attention in the model's middle")

        def record(attention: Any, hidden_states: Tensor, *_rest: Any, **_options: Any) -> Tensor:
            heads = [attention.head_to_batch_dim(one(hidden_states)) for one in (
                attention.to_q, attention.to_k, attention.to_v
            )]  # fmt: skip
            scores = (heads[0] @ heads[1].transpose(-1, -2) * attention.scale).softmax(dim=-1)
            if 1 in state.sides:
                pieces = scores.chunk(len(state.sides))
                state.recorded[self.fingerprint] = pieces[state.sides.index(1)]
            found: Tensor = attention.to_out[0](attention.batch_to_head_dim(scores @ heads[2]))
            return found

        with replace_processor(layers[0], record):
            yield

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        scores = step.state.recorded.get(self.fingerprint)
        if scores is None or min(denoised.shape[2:]) <= MIN_SIDE:
            return denoised
        degraded = _blurred_where_seen(step.negative, scores, self.blur_sigma)
        answer = step.denoise(degraded + step.x - step.negative, 1)
        return denoised + (degraded - answer) * self.scale


def _blurred_where_seen(latent: Tensor, scores: Tensor, sigma: float) -> Tensor:
    """The latent, blurred where attention adds up to more than an even share.

    Args:
        scores: (batch·heads)×n×n.
    """
    batch, _, height, width = latent.shape
    by_image = scores.reshape(batch, -1, *scores.shape[-2:])
    seen = by_image.mean(1).sum(1) > THRESHOLD
    shrunk = math.ceil(math.sqrt(height * width / scores.shape[-1]))
    size = (math.ceil(height / shrunk), math.ceil(width / shrunk))
    if math.prod(size) != scores.shape[-1]:
        raise SamplingError("self-attention guidance wants a model that sees the whole latent")
    mask = seen.reshape(batch, 1, *size).to(latent.dtype)
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
