"""SEEDS and the extended reverse-time SDE: stochastic exponential samplers with step noise.

lambda = -ln(sigma), h its step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, StepNoise

RIEMANN_POINTS = 200
SecondOrder = Literal["phi_1", "phi_2"]
NoiseScale = Literal["extended", "reverse"]


def _spread(h: Tensor, start: float, end: float) -> Tensor:
    """Return the noise of a step between two shares of it, relative to the sigma at its end."""
    return (torch.expm1(-2 * start * h) - torch.expm1(-2 * end * h)).sqrt()


def seeds_2(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    r: float = 0.5,
    eta: float = 1.0,
    solver: SecondOrder = "phi_1",
) -> Tensor:
    """Take SEEDS-2 steps: two stages with correlated noises.

    Two model calls a step but the last, which gives D. Draws noise twice a step, unless eta is 0.

    Args:
        r: share of a step at which the second stage evaluates the model.
        eta: share of the SDE's noise; 0 is the ODE.
        solver: weights of both stages: phi_1 mixes them linearly, phi_2 meets the conditions of
            order 2 exactly.

    Source: arXiv 2305.14267, algorithm 2; of phi_2, Hochbruck and Ostermann, "Exponential
    integrators", section 2.
    """
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        noisy, full = eta * h, (1 + eta) * h
        middle = sigma.log().lerp(sigma_next.log(), r).exp()
        inner = (middle / sigma) * torch.exp(-r * noisy) * x - torch.expm1(-r * full) * denoised
        x = (sigma_next / sigma) * torch.exp(-noisy) * x
        if eta > 0:
            first, second = noise(sigma, middle), noise(middle, sigma_next)
            inner = inner + middle * _spread(noisy, 0, r) * first
            x = x + sigma_next * (
                _spread(noisy, 1 - r, 1) * first + _spread(noisy, 0, 1 - r) * second
            )
        weight, weight_inner = _second_order_weights(full, r, solver)
        x = x - weight * denoised - weight_inner * denoise(inner, middle)
    return x


def _second_order_weights(h: Tensor, r: float, solver: SecondOrder) -> tuple[Tensor, Tensor]:
    """Return the weights of D at the start of a step and of D at a share of it."""
    change = torch.expm1(-h)
    inner = change / (2 * r) if solver == "phi_1" else (change / -h - 1) / r
    return change - inner, inner


def exp_heun_2_x0(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, solver: SecondOrder = "phi_2"
) -> Tensor:
    """Take Heun's steps of the exponential integrator over D: `seeds_2` without noise, at r = 1.

    Two model calls a step but the last, which gives D.
    """
    return seeds_2(denoise, x, steps, noise=_no_noise, r=1.0, eta=0.0, solver=solver)


def exp_heun_2_x0_sde(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    solver: SecondOrder = "phi_2",
) -> Tensor:
    """Take the steps of `exp_heun_2_x0` with the SDE's noise.

    Two model calls a step but the last, which gives D. Draws noise twice a step, unless eta is 0.
    """
    return seeds_2(denoise, x, steps, noise=noise, r=1.0, eta=eta, solver=solver)


def _no_noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
    raise AssertionError("an ODE solver draws no noise")


def seeds_3(denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise) -> Tensor:
    """Take SEEDS-3 steps: stages at thirds of the step, with correlated noises.

    Three model calls a step but the last, which gives D. Draws noise three times a step.
    Source: arXiv 2305.14267, algorithm 3.
    """
    r1, r2 = 1 / 3, 2 / 3
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        h = sigma.log() - sigma_next.log()
        low, high = ((sigma.log() - h * r).exp() for r in (r1, r2))
        draws = noise(sigma, low), noise(low, high), noise(high, sigma_next)
        spreads = _spread(h, 0, r1), _spread(h, r1, r2), _spread(h, r2, 1)

        def drift(to: Tensor, r: float, h: Tensor = h, start: Tensor = sigma) -> Tensor:
            return (to / start) * torch.exp(-r * h) * x - torch.expm1(-2 * r * h) * denoised  # noqa: B023

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
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    order: int = 3,
    eta: float = 1.0,
    kind: NoiseScale = "extended",
) -> Tensor:
    """Take steps of the extended reverse-time SDE; the last step gives D.

    Order up to 3, one model call a step. Draws noise once a step but the last, unless eta is 0.

    Args:
        eta: share of the noise; 0 is the ODE.
        kind: the noise scale: z (exp(z^0.3) + 10)^eta of the extended SDE, or z^(1 + eta) of the
            reverse-time SDE.

    Source: arXiv 2309.06169, algorithm 3.
    """
    history: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(steps):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            x = denoised
            continue
        r = _scale_ratio(sigma_next, sigma, eta, kind)
        x = r * x + (1 - r) * denoised
        history = [denoised, *history[: order - 1]]
        for term in _higher_orders(history, steps.sigmas[: i + 2], eta, kind):
            x = x + term
        if eta != 0:
            spread = (sigma_next**2 - sigma**2 * r**2).sqrt().nan_to_num(nan=0.0)
            x = x + noise(sigma, sigma_next) * spread
    return x


def _higher_orders(
    history: list[Tensor], sigmas: Tensor, eta: float, kind: NoiseScale
) -> Iterator[Tensor]:
    """Yield the terms of order 2 and 3, by left Riemann sums from the lower sigma.

    Args:
        history: the last predictions, newest first.
        sigmas: of the steps so far, with the one to go to.
    """
    if len(history) < 2:
        return
    sigma, sigma_next = sigmas[-2], sigmas[-1]
    width = sigma_next - sigma
    spacing = -width / RIEMANN_POINTS
    points = sigma_next + torch.arange(RIEMANN_POINTS, device=spacing.device) * spacing
    weights = _scale_ratio(sigma_next, points, eta, kind)
    change = (history[0] - history[1]) / (sigma - sigmas[-3])
    yield (width + weights.sum() * spacing) * change
    if len(history) < 3:
        return
    change_last = (history[1] - history[2]) / (sigmas[-3] - sigmas[-4])
    bend = (change - change_last) / ((sigma - sigmas[-4]) / 2)
    moment = ((points - sigma) * weights).sum() * spacing
    yield (width**2 / 2 + moment) * bend


def _scale_ratio(sigma: Tensor, other: Tensor, eta: float, kind: NoiseScale) -> Tensor:
    """Return the noise scale at one sigma over that at another."""
    ratio: Tensor = sigma / other
    if kind == "reverse":
        return ratio ** (1 + eta)
    bases = [(level**0.3).exp() + 10.0 for level in (sigma, other)]
    return ratio * (bases[0] / bases[1]) ** eta
