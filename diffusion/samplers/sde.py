"""DPM-Solver++ on the reverse SDE; the noise is the increment of one Brownian path.

lambda = -ln(sigma), h its step, eta the share of the SDE's noise (1 all of it, 0 the ODE).
Source of the family: arXiv 2211.01095, section 5 and appendix; forms as in k-diffusion.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, StepNoise, ancestral_split


def dpmpp_sde(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    r: float = 0.5,
) -> Tensor:
    """Take single steps of DPM-Solver++ of order 2 on the SDE.

    Two model calls a step but the last, which gives D. Draws noise twice a step.
    """
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        middle = (-(-sigma.log() + h * r)).exp()
        down, up = ancestral_split(sigma, middle, eta)
        halfway = _step_to(x, denoised, sigma, down) + noise(sigma, middle) * up
        share = 1 / (2 * r)
        target = (1 - share) * denoised + share * denoise(halfway, middle)
        down, up = ancestral_split(sigma, sigma_next, eta)
        x = _step_to(x, target, sigma, down) + noise(sigma, sigma_next) * up
    return x


def _step_to(x: Tensor, target: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return x after a step that is exact for a constant D."""
    return (sigma_next / sigma) * x - torch.expm1(sigma_next.log() - sigma.log()) * target


def dpmpp_2m_sde(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    solver_type: Literal["midpoint", "heun"] = "midpoint",
) -> Tensor:
    """Take multisteps of DPM-Solver++ of order 2 on the SDE.

    One model call a step. Draws noise once a step but the last, which gives D.
    """
    previous: Tensor | None = None
    h_last = steps.sigmas[0]
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        eta_h = eta * h
        decay = -torch.expm1(-h - eta_h)
        x = (sigma_next / sigma) * torch.exp(-eta_h) * x + decay * denoised
        if previous is not None:
            change = (denoised - previous) / (h_last / h)
            half = 0.5 * decay if solver_type == "midpoint" else decay / (-h - eta_h) + 1
            x = x + half * change
        x = x + noise(sigma, sigma_next) * sigma_next * torch.sqrt(-torch.expm1(-2 * eta_h))
        previous, h_last = denoised, h
    return x


dpmpp_2m_sde_heun = partial(dpmpp_2m_sde, solver_type="heun")


def dpmpp_3m_sde(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    eta: float = 1.0,
) -> Tensor:
    """Take multisteps of DPM-Solver++ of order 3 on the SDE.

    One model call a step. Draws noise once a step but the last, which gives D.
    """
    history: list[tuple[Tensor, Tensor]] = []
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        h_eta = h * (eta + 1)
        x = torch.exp(-h_eta) * x - torch.expm1(-h_eta) * denoised
        x = x + _higher_orders(history, denoised, h, h_eta)
        if eta:
            x = x + noise(sigma, sigma_next) * sigma_next * torch.sqrt(-torch.expm1(-2 * h * eta))
        history = [(denoised, h), *history[:1]]
    return x


def _higher_orders(
    history: list[tuple[Tensor, Tensor]], denoised: Tensor, h: Tensor, h_eta: Tensor
) -> Tensor | float:
    """Return the terms of order 2 and 3, from the last one or two D and their steps."""
    if not history:
        return 0.0
    phi_2 = torch.expm1(-h_eta) / h_eta + 1
    (last, h_last), *older = history
    r0 = h_last / h
    first = (denoised - last) / r0
    if not older:
        return phi_2 * first
    ((before, h_before),) = older
    r1 = h_before / h
    earlier = (last - before) / r1
    d1 = first + (first - earlier) * r0 / (r0 + r1)
    d2 = (first - earlier) / (r0 + r1)
    phi_3 = phi_2 / h_eta - 0.5
    return phi_2 * d1 - phi_3 * d2
