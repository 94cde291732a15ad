"""DPM-Solver-2 and DPM-Solver++ without Brownian noise.

lambda = -ln(sigma) is the half log-SNR; h is its step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep, ancestral_split, pairs, slope


def dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep) -> Tensor:
    """Midpoint steps, the midpoint being the geometric mean of the levels.

    Order 2, two model calls a step but the last, draws no noise.
    Source: DPM-Solver-2, arXiv 2206.00927, algorithm 4, in Karras' form.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        x = _midpoint(denoise, x, sigma, sigma_next, slope(x, sigma, denoised))
    return x


def dpm_2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """dpm_2 with fresh noise after each step.

    Two model calls a step but the last. Draws noise once a step but the last.
    Source: k-diffusion.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next, eta)
        x = _midpoint(denoise, x, sigma, down, slope(x, sigma, denoised))
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def _midpoint(
    denoise: Denoise, x: Tensor, sigma: Tensor, sigma_next: Tensor, start: Tensor
) -> Tensor:
    """A midpoint step; an Euler step where it ends at 0."""
    if sigma_next == 0:
        return x + start * (sigma_next - sigma)
    middle = sigma.log().lerp(sigma_next.log(), 0.5).exp()
    halfway = x + start * (middle - sigma)
    return x + slope(halfway, middle, denoise(halfway, middle)) * (sigma_next - sigma)


def dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """Single-step DPM-Solver++ of order 2 with fresh noise after each step.

    Two model calls a step but the last. Draws noise once a step but the last.
    Source: arXiv 2211.01095, algorithm 1 with r = 1/2; noise as in k-diffusion.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0:
            x = x + slope(x, sigma, denoised) * (down - sigma)
        else:
            start, h = -sigma.log(), sigma.log() - down.log()
            middle = (-(start + h / 2)).exp()
            halfway = (middle / sigma) * x - torch.expm1(-h / 2) * denoised
            x = (down / sigma) * x - torch.expm1(-h) * denoise(halfway, middle)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
    return x


def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep
) -> Tensor:
    """Multistep DPM-Solver++ of order 2; first order where it ends at 0.

    Order 2, one model call a step, draws no noise.
    Source: arXiv 2211.01095, algorithm 2.
    """
    previous: Tensor | None = None
    h_last = sigmas[0]
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        h = sigma.log() - sigma_next.log()
        target = denoised
        if previous is not None and sigma_next > 0:
            r = h_last / h
            target = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * previous
        x = (sigma_next / sigma) * x - torch.expm1(-h) * target
        previous, h_last = denoised, h
    return x
