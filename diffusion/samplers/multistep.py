"""Linear multistep samplers over the slope: LMS, improved PNDM, DEIS."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, slope

ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def lms(denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, order: int = 4) -> Tensor:
    """Integrate the polynomial through the last slopes exactly; the last step gives D.

    Order up to 4, one model call a step, draws no noise.
    Source: linear multistep of k-diffusion; arXiv 2206.00364 states the ODE.
    """
    sigmas = steps.sigmas.double().cpu().numpy()
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(steps):
        denoised = denoise(x, sigma)
        slopes = [slope(x, sigma, denoised), *slopes[: order - 1]]
        if sigma_next == 0:
            x = denoised
            continue
        points = sigmas[max(0, i + 1 - len(slopes)) : i + 1][::-1]
        x = x + _weighted_sum(_lagrange_integrals(points, sigmas[i], sigmas[i + 1]), slopes)
    return x


def _weighted_sum(weights: Sequence[float | Tensor], slopes: Sequence[Tensor]) -> Tensor | int:
    return sum(weight * past for weight, past in zip(weights, slopes, strict=True))


def _lagrange_integrals(points: np.ndarray, start: float, end: float) -> list[float]:
    """Return the integral of each Lagrange basis polynomial over the points."""
    integrals = []
    for index, point in enumerate(points):
        others = np.delete(points, index)
        basis = np.polynomial.Polynomial(np.poly(others)[::-1] if len(others) else [1.0])
        integral = basis.integ() / np.prod(point - others)
        integrals.append(float(integral(end) - integral(start)))
    return integrals


def ipndm(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take Adams-Bashforth steps with the weights of equal steps; the last step gives D.

    Order up to 4, one model call a step, draws no noise. Source: arXiv 2204.13902.
    """
    slopes: list[Tensor] = []
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        slopes = [slope(x, sigma, denoised), *slopes[:3]]
        if sigma_next == 0:
            x = denoised
        else:
            mean = _weighted_sum(ADAMS_BASHFORTH[len(slopes) - 1], slopes)
            x = x + (sigma_next - sigma) * mean
    return x


def ipndm_v(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take the steps of ipndm with weights for steps of varying size; the last step gives D.

    Order up to 4, one model call a step, draws no noise.
    Source: the variable-step form of arXiv 2204.13902's implementation in diff-sampler.
    """
    sigmas, slopes = steps.sigmas, list[Tensor]()
    for i, (sigma, sigma_next) in enumerate(steps):
        denoised = denoise(x, sigma)
        slopes = [slope(x, sigma, denoised), *slopes[:3]]
        if sigma_next == 0:
            x = denoised
            continue
        widths = [sigmas[i + 1 - back] - sigmas[i - back] for back in range(len(slopes))]
        x = x + widths[0] * _weighted_sum(_variable_step_weights(widths), slopes)
    return x


def _variable_step_weights(widths: list[Tensor]) -> list[Tensor]:
    """Return the weights of the last slopes for the step widths[0], newest first.

    The quadratic term `curve` is the published one, whose factors group unlike Adams-Bashforth's.
    """
    one = torch.ones_like(widths[0])
    if len(widths) == 1:
        return [one]
    h, h1, *older = widths
    weights = [(2 + h / h1) / 2, -(h / h1) / 2]
    if not older:
        return weights
    h2 = older[0]
    curve = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2
    ratio = h1 / h2
    weights = [weights[0] + curve, weights[1] - (1 + ratio) * curve, curve * ratio]
    if len(older) == 1:
        return weights
    h3 = older[1]
    cubic = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
    cubic = cubic * (h * (h + h1) * (h + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3))
    span = (h1 * (h1 + h2)) / (h2 * (h2 + h3))
    return [
        weights[0] + cubic,
        weights[1] - (1 + ratio + span) * cubic,
        weights[2] + (ratio + span * (1 + h2 / h3)) * cubic,
        -cubic * span * ratio,
    ]


def deis(denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, order: int = 3) -> Tensor:
    """Integrate exponentially, with a polynomial through the last slopes in VP time.

    Order up to 3, one model call a step, draws no noise.
    Source: tAB-DEIS, arXiv 2204.13902, equations 14 and 15.
    """
    times, low, high = _vp_times(steps.sigmas)
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(steps):
        slopes = [slope(x, sigma, denoise(x, sigma)), *slopes[: order - 1]]
        if sigma_next <= 0 or len(slopes) == 1:
            x = x + (sigma_next - sigma) * slopes[0]
        else:
            points = times[i + 1 - len(slopes) : i + 1].flip(0)
            x = x + _weighted_sum(_deis_weights(points, times[i + 1], low, high), slopes)
    return x


def _vp_times(sigmas: Tensor) -> tuple[Tensor, float, float]:
    """Return the sigmas as times of a VP schedule, and the ends of its beta.

    The schedule reaches sigma 0.002 at time 0.001 and sigma 80 at time 1.
    """
    start, low, high = 1e-3, math.log(0.002**2 + 1), math.log(80**2 + 1)
    steepness = 2 * (low / start - high) / (start - 1)
    beta_min = high - 0.5 * steepness
    logs = (sigmas**2 + 1).log()
    times = ((beta_min**2 + 2 * steepness * logs).sqrt() - beta_min) / steepness
    return times, beta_min, steepness + beta_min


def _deis_weights(
    points: Tensor, end: Tensor, beta_min: float, beta_max: float, count: int = 10_000
) -> list[Tensor]:
    """Return the weight of each slope: a rectangle sum over `count` times, as the reference."""
    times = torch.linspace(float(points[0]), float(end), count, device=points.device)
    rate = times * (beta_max - beta_min) + beta_min
    alpha = torch.exp(-0.5 * times**2 * (beta_max - beta_min) - times * beta_min)
    integrand = 0.5 * rate / torch.sqrt(alpha * (1 - alpha))
    width = (end - points[0]) / count
    weights = []
    for index, point in enumerate(points):
        basis = torch.ones_like(times)
        for other in torch.cat([points[:index], points[index + 1 :]]):
            basis = basis * (times - other) / (point - other)
        weights.append((integrand * basis).sum() * width)
    return weights
