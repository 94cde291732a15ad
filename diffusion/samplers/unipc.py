"""UniPC: a predictor and a corrector of one order that share their model calls."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps

Variant = Literal["bh1", "bh2"]
LAST_SIGMA = 0.001


def uni_pc(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    variant: Variant = "bh1",
    single_step: bool = True,
) -> Tensor:
    """Take UniPC multisteps with data prediction, in variance-preserving form.

    Order up to 3, one model call a step, draws no noise. A last sigma of 0 is taken as 0.001.
    Without `single_step` x stays unchanged if there is only one step, as in ComfyUI 0.3.64.
    Source: arXiv 2302.04867, algorithms 5 to 7; B(h) = h (bh1) or e^h - 1 (bh2).
    """
    sigmas, count = steps.sigmas.clone(), len(steps)
    sigmas[-1] = LAST_SIGMA if sigmas[-1] == 0 else sigmas[-1]
    max_order = max(1, min(3, count - 1))
    x = x / (1 + sigmas[0] ** 2) ** 0.5

    def predict(x: Tensor, index: int) -> Tensor:
        steps.reporter.begin(index)
        return denoise(x * (1 + sigmas[index] ** 2) ** 0.5, sigmas[index])

    predictions = [predict(x, 0)]
    for step in range(1, count + 1) if count > 1 or single_step else ():
        order = min(max_order, step, count + 1 - step)
        last_sigmas = [sigmas[step - 1 - back] for back in range(order)]
        update = _Update(x, sigmas[step], last_sigmas, predictions[:order], variant)
        x = update.predict()
        if step < count:
            denoised = predict(x, step)
            x = update.correct(denoised)
            predictions = [denoised, *predictions[:2]]
    return x * (1 + sigmas[-1] ** 2) ** 0.5


uni_pc_bh2 = partial(uni_pc, variant="bh2")


def _variance_preserving(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return signal, noise and half log-SNR of a sigma, in the reference's order of operations.

    In float32 the order matters at low noise, where 1 - alpha² cancels.
    """
    log_alpha = 0.5 * torch.log(1 / (sigma**2 + 1))
    noise_squared = 1 - torch.exp(2 * log_alpha)
    half_log_snr = log_alpha - 0.5 * torch.log(noise_squared)
    return torch.exp(log_alpha), torch.sqrt(noise_squared), half_log_snr


class _Update:
    """One step to `sigma` from x at the newest of the last sigmas, predicted then corrected.

    Args:
        last_sigmas, predictions: of the last model calls, newest first.
    """

    def __init__(
        self,
        x: Tensor,
        sigma: Tensor,
        last_sigmas: list[Tensor],
        predictions: list[Tensor],
        variant: Variant,
    ) -> None:
        newest, *older = last_sigmas
        alpha, std, end = _variance_preserving(sigma)
        _, std_newest, start = _variance_preserving(newest)
        h = end - start
        ratios = [(_variance_preserving(past)[2] - start) / h for past in older]
        self.newest, self.alpha = predictions[0], alpha
        self.changes = [
            (past - self.newest) / ratio
            for past, ratio in zip(predictions[1:], ratios, strict=True)
        ]
        phi_1 = torch.expm1(-h)
        self.scale = -h if variant == "bh1" else phi_1
        self.rows, self.values = self._system([*ratios, torch.ones_like(h)], -h, len(last_sigmas))
        self.base = std / std_newest * x - alpha * phi_1 * self.newest

    def predict(self) -> Tensor:
        """Return x at `sigma` from the last predictions."""
        if not self.changes:
            return self.base
        if len(self.changes) == 1:
            weights = self.values.new_tensor([0.5])
        else:
            weights = torch.linalg.solve(self.rows[:-1, :-1], self.values[:-1])
        return self.base - self.alpha * self.scale * self._sum(weights)

    def correct(self, denoised: Tensor) -> Tensor:
        """Return x at `sigma` with the model's prediction there too."""
        if not self.changes:
            weights = self.values.new_tensor([0.5])
        else:
            weights = torch.linalg.solve(self.rows, self.values)
        change = self._sum(weights[:-1]) + weights[-1] * (denoised - self.newest)
        return self.base - self.alpha * self.scale * change

    def _system(self, ratios: list[Tensor], h: Tensor, order: int) -> tuple[Tensor, Tensor]:
        rows, values = [], []
        base, factorial = torch.stack(ratios), 1.0
        phi = torch.expm1(h) / h - 1
        for power in range(order):
            rows.append(base**power)
            values.append(phi * factorial / self.scale)
            factorial *= power + 2
            phi = phi / h - 1 / factorial
        return torch.stack(rows), torch.stack(values)

    def _sum(self, weights: Tensor) -> Tensor:
        terms = (weight * change for weight, change in zip(weights, self.changes, strict=True))
        return sum(terms, torch.zeros_like(self.base))
