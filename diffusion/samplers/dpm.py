"""DPM-Solver-2 and DPM-Solver++ without Brownian noise.

lambda = -ln(sigma) is the half log-SNR; h is its step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, StepNoise, ancestral_split, euler_step, midpoint_step


def dpm_2(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take midpoint steps, the midpoint being the geometric mean of the sigmas.

    Order 2, two model calls a step but the last, draws no noise.
    Source: DPM-Solver-2, arXiv 2206.00927, algorithm 4, in Karras' form.
    """
    for sigma, sigma_next in steps:
        x = midpoint_step(denoise, x, sigma, sigma_next, denoise(x, sigma))
    return x


def dpm_2_ancestral(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise, eta: float = 1.0
) -> Tensor:
    """Take the steps of dpm_2 with fresh noise after each.

    Two model calls a step but the last. Draws noise once a step but the last.
    Source: k-diffusion.
    """
    for sigma, sigma_next in steps:
        down, up = ancestral_split(sigma, sigma_next, eta)
        x = midpoint_step(denoise, x, sigma, down, denoise(x, sigma))
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2s_ancestral(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise, eta: float = 1.0
) -> Tensor:
    """Take single steps of DPM-Solver++ of order 2 with fresh noise after each.

    Two model calls a step but the last. Draws noise once a step but the last.
    Source: arXiv 2211.01095, algorithm 1 with r = 1/2; noise as in k-diffusion.
    """
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0:
            x = euler_step(x, sigma, down, denoised)
        else:
            start, h = -sigma.log(), sigma.log() - down.log()
            middle = (-(start + h / 2)).exp()
            halfway = (middle / sigma) * x - torch.expm1(-h / 2) * denoised
            x = (down / sigma) * x - torch.expm1(-h) * denoise(halfway, middle)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2m(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take multisteps of DPM-Solver++ of order 2; first order where it ends at 0.

    Order 2, one model call a step, draws no noise.
    Source: arXiv 2211.01095, algorithm 2.
    """
    previous: Tensor | None = None
    h_last = steps.sigmas[0]
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        h = sigma.log() - sigma_next.log()
        target = denoised
        if previous is not None and sigma_next > 0:
            r = h_last / h
            target = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * previous
        x = (sigma_next / sigma) * x - torch.expm1(-h) * target
        previous, h_last = denoised, h
    return x
