"""SEEDS and the extended reverse-time SDE: stochastic exponential samplers with step noise.

lambda = -ln(sigma), h its step; the SDE's noise is full (eta = 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep, pairs


def _spread(h: Tensor, start: float, end: float) -> Tensor:
    """Noise of the part of a step between two shares of it, relative to its end's level."""
    return (torch.expm1(-2 * start * h) - torch.expm1(-2 * end * h)).sqrt()


def seeds_2(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep, r: float = 0.5
) -> Tensor:
    """SEEDS-2: two stages with correlated noises.

    Two model calls a step but the last, which gives D. Draws noise twice a step.
    Source: arXiv 2305.14267, algorithm 2.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        middle = (sigma.log() - h * r).exp()
        first, second = noise(sigma, middle), noise(middle, sigma_next)
        share = 1 / (2 * r)
        inner = (middle / sigma) * torch.exp(-r * h) * x - torch.expm1(-2 * r * h) * denoised
        inner = inner + middle * _spread(h, 0, r) * first
        target = (1 - share) * denoised + share * denoise(inner, middle)
        x = (sigma_next / sigma) * torch.exp(-h) * x - torch.expm1(-2 * h) * target
        x = x + sigma_next * (_spread(h, r, 1) * first + _spread(h, 0, r) * second)
    return x


def seeds_3(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep
) -> Tensor:
    """SEEDS-3: three stages at thirds of the step, with correlated noises.

    Three model calls a step but the last, which gives D. Draws noise three times a step.
    Source: arXiv 2305.14267, algorithm 3.
    """
    r1, r2 = 1 / 3, 2 / 3
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        low, high = ((sigma.log() - h * r).exp() for r in (r1, r2))
        draws = noise(sigma, low), noise(low, high), noise(high, sigma_next)
        spreads = _spread(h, 0, r1), _spread(h, r1, r2), _spread(h, r2, 1)

        def drift(level: Tensor, r: float, h: Tensor = h, start: Tensor = sigma) -> Tensor:
            return (level / start) * torch.exp(-r * h) * x - torch.expm1(-2 * r * h) * denoised  # noqa: B023

        inner = drift(low, r1) + low * spreads[0] * draws[0]
        change = denoise(inner, low) - denoised
        bend = torch.expm1(-2 * r2 * h) / (2 * r2 * h) + 1
        outer = drift(high, r2) + (r2 / r1) * bend * change
        outer = outer + high * (spreads[1] * draws[0] + spreads[0] * draws[1])
        change = denoise(outer, high) - denoised
        bend = torch.expm1(-2 * h) / (2 * h) + 1
        x = drift(sigma_next, 1.0) + bend / r2 * change
        mixed = spreads[2] * draws[0] + spreads[1] * draws[1] + spreads[0] * draws[2]
        x = x + sigma_next * mixed
    return x


def er_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    order: int = 3,
    eta: float | None = None,
    points: int = 200,
) -> Tensor:
    """Extended reverse-time SDE of order up to 3; the last step gives D.

    One model call a step. Draws noise once a step but the last, unless eta is 0.

    Args:
        eta: None takes the noise scale z (exp(z^0.3) + 10) of the extended SDE; a number that of
            the reverse-time SDE, z^(1 + eta), 0 being the ODE.

    Source: arXiv 2309.06169, algorithm 3, integrals by left Riemann sums from the lower level.
    """
    last: Tensor | None = None
    change_last: Tensor | None = None
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        r = _scale_ratio(sigma_next, sigma, eta)
        x = r * x + (1 - r) * denoised
        if last is not None and order > 1:
            width = sigma_next - sigma
            step = -width / points
            places = sigma_next + torch.arange(points, device=step.device) * step
            weights = _scale_ratio(sigma_next, places, eta)
            change = (denoised - last) / (sigma - sigmas[i - 1])
            x = x + (width + weights.sum() * step) * change
            if change_last is not None and order > 2:
                bend = (change - change_last) / ((sigma - sigmas[i - 2]) / 2)
                moment = ((places - sigma) * weights).sum() * step
                x = x + (width**2 / 2 + moment) * bend
            change_last = change
        if eta != 0:
            spread = (sigma_next**2 - sigma**2 * r**2).sqrt().nan_to_num(nan=0.0)
            x = x + noise(sigma, sigma_next) * spread
        last = denoised
    return x


def _scale_ratio(level: Tensor, other: Tensor, eta: float | None) -> Tensor:
    """The noise scale at one level over that at another."""
    if eta is not None:
        ratio: Tensor = (level / other) ** (1 + eta)
        return ratio
    return _noise_scale(level) / _noise_scale(other)


def _noise_scale(level: Tensor) -> Tensor:
    return level * ((level**0.3).exp() + 10.0)
