"""DPM-Solver of orders 1 to 3 in single steps: a fixed number of calls, or adaptive steps.

t = -ln(sigma). Both end at the last positive level and do not go to 0.
Source: arXiv 2206.00927, algorithms 3, 5 and 6; step control as in k-diffusion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import SamplingError
from .step import Denoise, Noise, OnStep, ancestral_split, slope

MAX_TRIES, MAX_VALUE = 100, 1e300


class _Stages:
    """The model's slopes within one step, each evaluated once."""

    def __init__(self, denoise: Denoise, x: Tensor, t: Tensor) -> None:
        self.denoise, self.x, self.t = denoise, x, t
        self.denoised = denoise(x, (-t).exp())
        self.first = slope(x, (-t).exp(), self.denoised)
        self._inner: dict[float, Tensor] = {}

    def one(self, t_next: Tensor) -> Tensor:
        """Order 1."""
        return self.x - (-t_next).exp() * torch.expm1(t_next - self.t) * self.first

    def two(self, t_next: Tensor, r: float = 0.5) -> Tensor:
        """Order 2, with an inner stage at share r of the step."""
        level, grown = (-t_next).exp(), torch.expm1(t_next - self.t)
        bend = level / (2 * r) * grown * (self._at(t_next, r) - self.first)
        return self.x - level * grown * self.first - bend

    def three(self, t_next: Tensor, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
        """Order 3, with inner stages at two shares of the step."""
        h = t_next - self.t
        change = self._at(t_next, r1) - self.first
        middle = self.t + r2 * h
        grown = torch.expm1(r2 * h)
        inner = self.x - (-middle).exp() * grown * self.first
        inner = inner - (-middle).exp() * (r2 / r1) * (grown / (r2 * h) - 1) * change
        second = slope(inner, (-middle).exp(), self.denoise(inner, (-middle).exp()))
        level, grown = (-t_next).exp(), torch.expm1(h)
        bend = level / r2 * (grown / h - 1) * (second - self.first)
        return self.x - level * grown * self.first - bend

    def _at(self, t_next: Tensor, r: float) -> Tensor:
        """The slope at share r of the step, reached by order 1."""
        if r not in self._inner:
            middle = self.t + r * (t_next - self.t)
            level = (-middle).exp()
            inner = self.x - level * torch.expm1(r * (t_next - self.t)) * self.first
            self._inner[r] = slope(inner, level, self.denoise(inner, level))
        return self._inner[r]


def _ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -sigmas[0].log(), -last.log()


def dpm_fast(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep
) -> Tensor:
    """As many model calls as steps, spent on steps of order 3 and a rest of lower order.

    Order 3, draws no noise.
    """
    calls = len(sigmas) - 1
    count = calls // 3 + 1
    rest = [2, 1] if calls % 3 == 0 else [calls % 3]
    orders = [3] * (count - len(rest)) + rest
    start, end = _ends(sigmas)
    times = torch.linspace(float(start), float(end), count + 1)
    done = 0
    for order, t, t_next in zip(orders, times[:-1], times[1:], strict=True):
        stages = _Stages(denoise, x, t)
        done += order
        on_step(done - 1, stages.denoised)
        x = (stages.one, stages.two, stages.three)[order - 1](t_next)
    return x


class _StepSize:
    """Step sizes by a PID controller of the error.

    Source: k-diffusion; Söderlind, "Digital Filters in Adaptive Time-Stepping" (ACM TOMS 29).
    """

    def __init__(self, h: float, gains: tuple[float, float, float], order: float) -> None:
        proportional, integral, derivative = gains
        self.h = h
        self.powers = (
            (proportional + integral + derivative) / order,
            -(proportional + 2 * derivative) / order,
            derivative / order,
        )
        self._logs = list[float]()

    def accepts(self, error: float, safety: float) -> bool:
        """Whether a step of this error is good; the size of the next one follows it.

        Errors count by their inverse logarithms, which do not overflow.
        """
        now = -math.log(min(error, MAX_VALUE) + 1e-8)
        known = [now, *self._logs] if self._logs else [now] * 3
        raw = sum(each * power for each, power in zip(known, self.powers, strict=True))
        factor = 1 + math.atan(math.exp(min(raw, 700.0)) - 1)
        self.h *= factor
        if factor >= safety:
            self._logs = known[:2]
        elif not self._logs:
            self._logs = known[1:]
        return factor >= safety


def dpm_adaptive(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
) -> Tensor:
    """Steps of order 2 or 3 sized by the difference to the order below; those given are unused.

    `order` model calls a try. Draws noise once a step where eta is above 0.

    Args:
        rtol, atol: the difference that is allowed, relative to x and absolute.
        h_init: size of the first try, in log sigma.
        pcoeff, icoeff, dcoeff: of the step size's controller.
        accept_safety: a try is taken where the next may be this much larger, or more.
        eta: share of fresh noise, as in ancestral sampling.

    Raises:
        SamplingError: no try of many in a row was good enough.
    """
    t, end = _ends(sigmas)
    total, low_last, tries = len(sigmas) - 1, x, 0
    size = _StepSize(h_init, (pcoeff, icoeff, dcoeff), 1.5 if eta else order)
    start = t
    while t < end - 1e-5:
        t_next = t_down = torch.minimum(end, t + size.h)
        up = torch.zeros(())
        if eta:
            down, _ = ancestral_split((-t).exp(), (-t_next).exp(), eta)
            t_down = torch.minimum(end, -down.log())
            up = ((-2 * t_next).exp() - (-2 * t_down).exp()).clamp(min=0).sqrt()
        stages = _Stages(denoise, x, t)
        if order == 2:
            low, high = stages.one(t_down), stages.two(t_down)
        else:
            low, high = stages.two(t_down, 1 / 3), stages.three(t_down)
        allowed = torch.maximum(low.abs(), low_last.abs()).mul(rtol).clamp(min=atol)
        error = float(torch.linalg.norm((low - high) / allowed)) / x.numel() ** 0.5
        tries += 1
        if size.accepts(error, accept_safety):
            x, low_last, tries = high, low, 0
            if eta:
                x = x + noise((-t).exp(), (-t_next).exp()) * up
            t = t_next
            done = int(float((t - start) / (end - start)) * total)
            on_step(max(0, min(done, total) - 1), stages.denoised)
        elif tries == MAX_TRIES:
            raise SamplingError(
                f"dpm_adaptive found no step that is good enough in {tries} tries; "
                "the model gave no numbers, or rtol, atol and accept_safety allow too little"
            )
    return x
