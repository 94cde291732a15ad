"""SA-Solver: stochastic Adams steps of variable order, predicted and corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, StepNoise

Tau = Callable[[Tensor], float]
PREDICTOR, CORRECTOR = 3, 4


def no_noise(_sigma: Tensor) -> float:
    """Return tau of the ODE: 0 at every sigma."""
    return 0.0


def sa_solver(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    tau: Tau = no_noise,
    predictor: int = PREDICTOR,
    corrector: int = CORRECTOR,
    pece: bool = False,
    simple: bool = False,
) -> Tensor:
    """Take Adams-Bashforth and Adams-Moulton steps on the SDE with noise tau(sigma).

    One model call a step, with `pece` a second one after each correction. Draws noise once a step
    where tau is above 0. Orders fall towards the end; the last step gives D.

    Args:
        predictor, corrector: the orders; corrector 0 does not correct.
        simple: weights of order 2 by the leading term of their moment.

    Source: arXiv 2309.05019, algorithm 1 and appendix D.
    """
    solver = _Adams(steps.sigmas, max(predictor, corrector), simple)
    predicted, tau_now, added = x, 0.0, torch.zeros_like(x)
    for i, (sigma, sigma_next) in enumerate(steps):
        denoised = denoise(predicted, sigma)
        solver.append(denoised)
        if i == 0 or corrector == 0 or (sigma_next == 0 and not pece):
            x = predicted
        else:
            x = solver.step(x, i - 1, corrector, tau_now) + added
            if pece:
                denoised = denoise(x, sigma)
                solver.replace_last(denoised)
        if sigma_next == 0:
            predicted = denoised
            continue
        tau_now = tau(sigma_next)
        predicted, added = solver.step(x, i, predictor, tau_now), torch.zeros_like(x)
        if tau_now > 0:
            added = noise(sigma, sigma_next) * sigma_next * solver.spread(i, tau_now)
            predicted = predicted + added
    return predicted


sa_solver_pece = partial(sa_solver, pece=True)


class _Adams:
    """Steps from the polynomial through the last predictions, over lambda = -ln(sigma)."""

    def __init__(self, sigmas: Tensor, max_order: int, simple: bool) -> None:
        self._sigmas, self._lambdas = sigmas, -sigmas.log()
        self._max_order, self._simple = max_order, simple
        self._predictions: list[Tensor] = []
        self._count = 0

    def append(self, denoised: Tensor) -> None:
        """Add the prediction at the next sigma."""
        self._predictions = [*self._predictions, denoised][-self._max_order :]
        self._count += 1

    def replace_last(self, denoised: Tensor) -> None:
        """Replace the last prediction."""
        self._predictions[-1] = denoised

    def step(self, x: Tensor, start: int, order: int, tau: float) -> Tensor:
        """Return x at sigma `start` + 1, without noise, of this order or as high as possible."""
        order = self._limit(order, start)
        lambda_now, lambda_next = self._lambdas[start], self._lambdas[start + 1]
        points = self._lambdas[self._count - order : self._count]
        weights = _adams_weights(points, lambda_now, lambda_next, tau, self._simple)
        decay = torch.exp(-(tau**2) * (lambda_next - lambda_now))
        scaled = (self._sigmas[start + 1] / self._sigmas[start]) * decay * x
        return scaled + _mix(weights, self._predictions[-order:])

    def spread(self, start: int, tau: float) -> Tensor:
        """Return the noise of the step from sigma `start`, relative to the sigma at its end."""
        h = self._lambdas[start + 1] - self._lambdas[start]
        return torch.sqrt(-torch.expm1(-2 * tau**2 * h))

    def _limit(self, order: int, start: int) -> int:
        order = min(order, len(self._predictions))
        steps_left = len(self._sigmas) - 2 - start
        return min(order, steps_left) if self._sigmas[-1] == 0 else order


def _mix(weights: Tensor, predictions: Sequence[Tensor]) -> Tensor:
    terms = (weight * denoised for weight, denoised in zip(weights, predictions, strict=True))
    return sum(terms, torch.zeros_like(predictions[0]))


def _adams_weights(points: Tensor, start: Tensor, end: Tensor, tau: float, simple: bool) -> Tensor:
    """Return a weight for each prediction: its Lagrange basis integrated under the SDE's kernel.

    Computed in float64 relative to the end, as high powers of the points are nearly dependent.
    """
    offsets, width, count = (points - end).double(), (end - start).double(), len(points)
    moments = _moments(width, count, 1 + tau**2)
    if simple and count == 2:
        moments[1] = (1 + tau**2) * width**2 / 2 - width * moments[0]
    rows = torch.stack([offsets**power for power in range(count)])
    weights: Tensor = torch.linalg.solve(rows, moments)
    return weights.to(points.dtype)


def _moments(width: Tensor, count: int, rate: float) -> Tensor:
    """Return rate * integral of exp(rate u) u^p du from -width to 0, for p below count.

    By parts: each moment is a boundary term less p/rate times the one before.
    """
    decay = torch.exp(-rate * width)
    moments = [1 - decay]
    for power in range(1, count):
        moments.append(-((-width) ** power) * decay - power / rate * moments[-1])
    return torch.stack(moments)
