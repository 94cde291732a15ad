"""DPM-Solver of orders 1 to 3 in single steps: a fixed number of calls, or adaptive steps.

t = -ln(sigma). Both end at the last positive sigma and do not go to 0.
Source: arXiv 2206.00927, algorithms 3, 5 and 6; step control as in k-diffusion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import SamplingError
from .step import Denoiser, SamplingSteps, StepNoise, ancestral_split, slope

MAX_TRIES, MAX_ERROR = 100, 1e300


class _Stages:
    """The model's slopes within one step, each evaluated once."""

    def __init__(self, denoise: Denoiser, x: Tensor, t: Tensor) -> None:
        self.denoise, self.x, self.t = denoise, x, t
        self.denoised = denoise(x, (-t).exp())
        self.first = slope(x, (-t).exp(), self.denoised)
        self._inner: dict[float, Tensor] = {}

    def one(self, t_next: Tensor) -> Tensor:
        """Return x at t_next by order 1."""
        return self.x - (-t_next).exp() * torch.expm1(t_next - self.t) * self.first

    def two(self, t_next: Tensor, r: float = 0.5) -> Tensor:
        """Return x at t_next by order 2, with an inner stage at share r of the step."""
        sigma, growth = (-t_next).exp(), torch.expm1(t_next - self.t)
        bend = sigma / (2 * r) * growth * (self._at(t_next, r) - self.first)
        return self.x - sigma * growth * self.first - bend

    def three(self, t_next: Tensor, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
        """Return x at t_next by order 3, with inner stages at two shares of the step."""
        h = t_next - self.t
        change = self._at(t_next, r1) - self.first
        middle = self.t + r2 * h
        growth = torch.expm1(r2 * h)
        inner = self.x - (-middle).exp() * growth * self.first
        inner = inner - (-middle).exp() * (r2 / r1) * (growth / (r2 * h) - 1) * change
        second = slope(inner, (-middle).exp(), self.denoise(inner, (-middle).exp()))
        sigma, growth = (-t_next).exp(), torch.expm1(h)
        bend = sigma / r2 * (growth / h - 1) * (second - self.first)
        return self.x - sigma * growth * self.first - bend

    def low_and_high(self, t_next: Tensor, order: int) -> tuple[Tensor, Tensor]:
        """Return x at t_next by the order below `order`, 2 or 3, and by `order`."""
        if order == 2:
            return self.one(t_next), self.two(t_next)
        return self.two(t_next, 1 / 3), self.three(t_next)

    def _at(self, t_next: Tensor, r: float) -> Tensor:
        """Return the slope at share r of the step, reached by order 1."""
        if r not in self._inner:
            middle = self.t + r * (t_next - self.t)
            sigma = (-middle).exp()
            inner = self.x - sigma * torch.expm1(r * (t_next - self.t)) * self.first
            self._inner[r] = slope(inner, sigma, self.denoise(inner, sigma))
        return self._inner[r]


def _ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -sigmas[0].log(), -last.log()


def dpm_fast(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Make as many model calls as steps, in steps of order 3 and a rest of lower order.

    Order 3, draws no noise.
    """
    calls = len(steps)
    count = calls // 3 + 1
    rest = [2, 1] if calls % 3 == 0 else [calls % 3]
    orders = [3] * (count - len(rest)) + rest
    start, end = _ends(steps.sigmas)
    times = torch.linspace(float(start), float(end), count + 1)
    calls_made = 0
    for order, t, t_next in zip(orders, times[:-1], times[1:], strict=True):
        calls_made += order
        steps.reporter.begin(calls_made - 1)
        stages = _Stages(denoise, x, t)
        x = (stages.one, stages.two, stages.three)[order - 1](t_next)
    return x


class _StepSize:
    """The next step's size, by a PID controller of the error.

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
        """Return whether a step of this error is small enough, and set the next size.

        Errors count by their inverse logarithms, which do not overflow.
        """
        now = -math.log(min(error, MAX_ERROR) + 1e-8)
        logs = [now, *self._logs] if self._logs else [now] * 3
        raw = sum(log * power for log, power in zip(logs, self.powers, strict=True))
        factor = 1 + math.atan(math.exp(min(raw, 700.0)) - 1)
        self.h *= factor
        if factor >= safety:
            self._logs = logs[:2]
        elif not self._logs:
            self._logs = logs[1:]
        return factor >= safety


def dpm_adaptive(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
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
    """Take steps of order 2 or 3, sized by their difference to the order below.

    Of the given sigmas only the ends count. `order` model calls a try. Draws noise once a step
    if eta is above 0.

    Args:
        rtol, atol: the difference that is allowed, relative to x and absolute.
        h_init: size of the first try, in log sigma.
        pcoeff, icoeff, dcoeff: proportional, integral and derivative gain of the step size.
        accept_safety: a try is accepted if the next may be at least this many times as large.
        eta: share of fresh noise, as in ancestral sampling.

    Raises:
        SamplingError: MAX_TRIES tries in a row were rejected.
    """
    start, end = _ends(steps.sigmas)
    t, low_last, tries = start, x, 0
    size = _StepSize(h_init, (pcoeff, icoeff, dcoeff), 1.5 if eta else order)
    while t < end - 1e-5:
        t_next = torch.minimum(end, t + size.h)
        t_down, up = _ancestral_times(t, t_next, end, eta)
        stages = _Stages(denoise, x, t)
        low, high = stages.low_and_high(t_down, order)
        tries += 1
        if size.accepts(_relative_error(low, high, low_last, rtol, atol), accept_safety):
            x, low_last, tries = high, low, 0
            if eta:
                x = x + noise((-t).exp(), (-t_next).exp()) * up
            t = t_next
            done = int(float((t - start) / (end - start)) * len(steps))
            steps.reporter.report(max(0, min(done, len(steps)) - 1), stages.denoised)
        elif tries == MAX_TRIES:
            raise SamplingError(
                f"dpm_adaptive: no step was accurate enough in {tries} tries; "
                "the model gave NaN, or rtol, atol and accept_safety are too strict"
            )
    return x


def _ancestral_times(t: Tensor, t_next: Tensor, end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Return the time to step to, and the noise that leads back to t_next."""
    if not eta:
        return t_next, torch.zeros(())
    down, _ = ancestral_split((-t).exp(), (-t_next).exp(), eta)
    t_down = torch.minimum(end, -down.log())
    return t_down, ((-2 * t_next).exp() - (-2 * t_down).exp()).clamp(min=0).sqrt()


def _relative_error(low: Tensor, high: Tensor, low_last: Tensor, rtol: float, atol: float) -> float:
    """Return the root mean square of the difference, 1 being what is allowed."""
    allowed = torch.maximum(low.abs(), low_last.abs()).mul(rtol).clamp(min=atol)
    size: float = low.numel() ** 0.5
    return float(torch.linalg.norm((low - high) / allowed)) / size
