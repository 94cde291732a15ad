"""SA-Solver: stochastic Adams steps of variable order, predicted and corrected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep, pairs

Tau = Callable[[Tensor], float]
PREDICTOR, CORRECTOR = 3, 4


def no_noise(_sigma: Tensor) -> float:
    """The ODE all along."""
    return 0.0


def sa_solver(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    tau: Tau = no_noise,
    predictor: int = PREDICTOR,
    corrector: int = CORRECTOR,
    pece: bool = False,
    simple: bool = False,
) -> Tensor:
    """Adams-Bashforth and Adams-Moulton steps on the SDE with noise tau(sigma).

    One model call a step, with `pece` a second one after each correction. Draws noise once a step
    where tau is above 0. Orders fall towards the end; the last step gives D.

    Args:
        predictor, corrector: the orders; corrector 0 does not correct.
        simple: weights of order 2 by the leading term of their moment.

    Source: arXiv 2309.05019, algorithm 1 and appendix D.
    """
    lambdas = -sigmas.log()
    steps, ends_at_zero = len(sigmas) - 1, bool(sigmas[-1] == 0)
    known: list[Tensor] = []
    predicted, tau_now, added, most = x, 0.0, torch.zeros_like(x), max(predictor, corrector)
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(predicted, sigma)
        on_step(i, denoised)
        known = [*known, denoised][-most:]
        bound = min(corrector, len(known))
        bound = min(bound, steps - i) if ends_at_zero else bound
        if i == 0 or corrector == 0 or (sigma_next == 0 and not pece):
            x = predicted
        else:
            points = lambdas[i - bound + 1 : i + 1]
            weights = _adams(points, lambdas[i - 1], lambdas[i], tau_now, simple)
            decay = torch.exp(-(tau_now**2) * (lambdas[i] - lambdas[i - 1]))
            x = (sigma / sigmas[i - 1]) * decay * x + _mix(weights, known[-bound:]) + added
            if pece:
                denoised = known[-1] = denoise(x, sigma)
        if sigma_next == 0:
            predicted = denoised
            continue
        order = min(predictor, len(known))
        order = min(order, steps - 1 - i) if ends_at_zero else order
        tau_now = tau(sigma_next)
        h = lambdas[i + 1] - lambdas[i]
        points = lambdas[i - order + 1 : i + 1]
        weights = _adams(points, lambdas[i], lambdas[i + 1], tau_now, simple)
        decay = torch.exp(-(tau_now**2) * h)
        predicted = (sigma_next / sigma) * decay * x + _mix(weights, known[-order:])
        added = torch.zeros_like(x)
        if tau_now > 0:
            spread = torch.sqrt(-torch.expm1(-2 * tau_now**2 * h))
            added = noise(sigma, sigma_next) * sigma_next * spread
            predicted = predicted + added
    return predicted


sa_solver_pece = partial(sa_solver, pece=True)


def _mix(weights: Tensor, known: list[Tensor]) -> Tensor:
    terms = (weight * each for weight, each in zip(weights, known, strict=True))
    return sum(terms, torch.zeros_like(known[0]))


def _adams(points: Tensor, start: Tensor, end: Tensor, tau: float, simple: bool) -> Tensor:
    """The weight of each known D: the integral of its Lagrange basis under the SDE's kernel.

    In float64 from the end on, as high powers of the points are nearly dependent.
    """
    places, width, count = (points - end).double(), (end - start).double(), len(points)
    moments = _moments(width, count, 1 + tau**2)
    if simple and count == 2:
        moments[1] = (1 + tau**2) * width**2 / 2 - width * moments[0]
    rows = torch.stack([places**power for power in range(count)])
    weights: Tensor = torch.linalg.solve(rows, moments)
    return weights.to(points.dtype)


def _moments(width: Tensor, count: int, rate: float) -> Tensor:
    """rate * integral of exp(rate u) u^p du from -width to 0, for p below count.

    By parts: each moment is a boundary term less p/rate times the one before.
    """
    decay = torch.exp(-rate * width)
    moments = [1 - decay]
    for power in range(1, count):
        moments.append(-((-width) ** power) * decay - power / rate * moments[-1])
    return torch.stack(moments)
