"""CFG++: samplers that renoise with the unguided prediction.

The model call gives two predictions, D under guidance and D_u without a prompt. A step goes to D
and adds the noise that D_u leaves, which keeps large guidance on the manifold of images.
Source: arXiv 2406.08070; forms for each base sampler as in ComfyUI.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .step import PairDenoiser, SamplingSteps, StepNoise, ancestral_split, slope


def euler_cfg_pp(denoise: PairDenoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take Euler steps. Order 1, one model call a step, draws no noise."""
    for sigma, sigma_next in steps:
        denoised, unguided = denoise(x, sigma)
        x = denoised + slope(x, sigma, unguided) * sigma_next
    return x


def euler_ancestral_cfg_pp(
    denoise: PairDenoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise, eta: float = 1.0
) -> Tensor:
    """Take Euler steps with fresh noise after each.

    Order 1, one model call a step. Draws noise once a step but the last.
    """
    for sigma, sigma_next in steps:
        denoised, unguided = denoise(x, sigma)
        down, up = ancestral_split(sigma, sigma_next, eta)
        x = denoised + slope(x, sigma, unguided) * down
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2s_ancestral_cfg_pp(
    denoise: PairDenoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise
) -> Tensor:
    """Take single steps of DPM-Solver++ of order 2 with fresh noise after each.

    Two model calls a step but the last. Draws noise once a step but the last.
    """
    for sigma, sigma_next in steps:
        denoised, unguided = denoise(x, sigma)
        down, up = ancestral_split(sigma, sigma_next)
        if down == 0:
            x = denoised + slope(x, sigma, unguided) * down
        else:
            h = sigma.log() - down.log()
            middle = (-(-sigma.log() + h / 2)).exp()
            moved = x + (denoised - unguided)
            halfway = (middle / sigma) * moved - torch.expm1(-h / 2) * denoised
            target, unguided = denoise(halfway, middle)
            moved = x + (denoised - unguided)
            x = (down / sigma) * moved - torch.expm1(-h) * target
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2m_cfg_pp(denoise: PairDenoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take multisteps of DPM-Solver++ of order 2. One model call a step, draws no noise."""
    previous: Tensor | None = None
    h_last = steps.sigmas[0]
    for sigma, sigma_next in steps:
        denoised, unguided = denoise(x, sigma)
        h = sigma.log() - sigma_next.log()
        remaining_noise = torch.exp(-h) * (x - unguided)
        if previous is not None and sigma_next > 0:
            r = h_last / h
            remaining_noise = remaining_noise - torch.expm1(-h) / (2 * r) * (denoised - previous)
        x = denoised + remaining_noise
        previous, h_last = unguided, h
    return x
