"""UniPC: a predictor and a corrector of one order that share their model calls."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep

Variant = Literal["bh1", "bh2"]
LAST_SIGMA = 0.001


def uni_pc(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    variant: Variant = "bh1",
    single_step: bool = True,
) -> Tensor:
    """UniPC multistep with data prediction, in variance-preserving form.

    Order up to 3, one model call a step, draws no noise. A last level of 0 is taken as 0.001.
    Source: arXiv 2302.04867, algorithms 5 to 7; B(h) = h (bh1) or e^h - 1 (bh2).

    Args:
        single_step: False leaves x as it is where there is one step only, as ComfyUI 0.3.64 does.
    """
    levels = sigmas.clone()
    levels[-1] = LAST_SIGMA if levels[-1] == 0 else levels[-1]
    steps = len(levels) - 1
    highest = max(1, min(3, steps - 1))
    x = x / (1 + levels[0] ** 2) ** 0.5

    def predict(x: Tensor, index: int) -> Tensor:
        sigma = levels[index]
        denoised = denoise(x * (1 + sigma**2) ** 0.5, sigma)
        on_step(index, denoised)
        return denoised

    known = [predict(x, 0)]
    for step in range(1, steps + 1) if steps > 1 or single_step else ():
        order = min(highest, step, steps + 1 - step)
        near = [levels[step - 1 - index] for index in range(order)]
        update = _Update(x, levels[step], near, known[:order], variant)
        x = update.predicted()
        if step < steps:
            fresh = predict(x, step)
            x = update.corrected(fresh)
            known = [fresh, *known[:2]]
    return x * (1 + levels[-1] ** 2) ** 0.5


uni_pc_bh2 = partial(uni_pc, variant="bh2")


def _variance_preserving(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Signal, noise and half log-SNR of a level, in the order of operations of the reference.

    In float32 the order matters at low noise, where 1 - alpha² cancels.
    """
    log_alpha = 0.5 * torch.log(1 / (sigma**2 + 1))
    noise_squared = 1 - torch.exp(2 * log_alpha)
    half_log_snr = log_alpha - 0.5 * torch.log(noise_squared)
    return torch.exp(log_alpha), torch.sqrt(noise_squared), half_log_snr


class _Update:
    """One step: from x at the newest of the known levels to `sigma`, predicted then corrected."""

    def __init__(
        self, x: Tensor, sigma: Tensor, near: list[Tensor], known: list[Tensor], variant: Variant
    ) -> None:
        order, newest = len(near), near[0]
        alpha, std, end = _variance_preserving(sigma)
        _, std_newest, start = _variance_preserving(newest)
        h = end - start
        ratios = [(_variance_preserving(level)[2] - start) / h for level in near[1:]]
        self.known, self.alpha = known, alpha
        self.changes = [
            (past - known[0]) / ratio for past, ratio in zip(known[1:], ratios, strict=True)
        ]
        phi_1 = torch.expm1(-h)
        self.scale = -h if variant == "bh1" else phi_1
        self.rows, self.values = self._system([*ratios, torch.ones_like(h)], -h, order)
        self.base = std / std_newest * x - alpha * phi_1 * known[0]

    def predicted(self) -> Tensor:
        """x at the level, from what is known already."""
        if not self.changes:
            return self.base
        if len(self.changes) == 1:
            weights = self.values.new_tensor([0.5])
        else:
            weights = torch.linalg.solve(self.rows[:-1, :-1], self.values[:-1])
        return self.base - self.alpha * self.scale * self._sum(weights)

    def corrected(self, fresh: Tensor) -> Tensor:
        """x at the level, with the model's answer there."""
        if not self.changes:
            weights = self.values.new_tensor([0.5])
        else:
            weights = torch.linalg.solve(self.rows, self.values)
        change = self._sum(weights[:-1]) + weights[-1] * (fresh - self.known[0])
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
