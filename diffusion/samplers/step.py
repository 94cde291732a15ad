"""The steps of a run, and the arithmetic that several samplers share.

A sampler is `(denoise, x, steps) -> x`, with a keyword `noise` if it draws noise: x is a latent
at steps.sigmas[0], the result is x at the last sigma. Sigmas are descending float32 tensors, taken
one by one as 0-dim tensors, as in the implementations that the results are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
PairDenoiser = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
StepNoise = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], None]
Prediction = TypeVar("Prediction", Tensor, tuple[Tensor, Tensor])


def _ignore(_index: int, _denoised: Tensor) -> None:
    return None


class StepReporter:
    """Pass D of each step, from the first model call after the step began, to `on_step`."""

    def __init__(self, on_step: OnStep = _ignore) -> None:
        self.report = on_step
        self._begun: int | None = None

    def begin(self, index: int) -> None:
        """Begin a step: the next model call is the one to report."""
        self._begun = index

    def watch(
        self, denoise: Callable[[Tensor, Tensor], Prediction]
    ) -> Callable[[Tensor, Tensor], Prediction]:
        """Return the model call with reports."""

        def reporting(x: Tensor, sigma: Tensor) -> Prediction:
            prediction = denoise(x, sigma)
            if self._begun is not None:
                index, self._begun = self._begun, None
                self.report(index, prediction[0] if isinstance(prediction, tuple) else prediction)
            return prediction

        return reporting


@dataclass(frozen=True, eq=False)
class SamplingSteps:
    """The steps of a run: iterating begins each of them and gives (sigma, sigma_next)."""

    sigmas: Tensor
    reporter: StepReporter = field(default_factory=StepReporter)

    def __len__(self) -> int:
        return len(self.sigmas) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in range(len(self)):
            self.reporter.begin(index)
            yield self.sigmas[index], self.sigmas[index + 1]


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """Return dx/dsigma of the probability-flow ODE. Source: arXiv 2206.00364, equation 3."""
    return (x - denoised) / sigma


def euler_step(x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor) -> Tensor:
    """Return x after a step along the slope."""
    return x + slope(x, sigma, denoised) * (sigma_next - sigma)


def midpoint_step(
    denoise: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor
) -> Tensor:
    """Return x after a midpoint step of DPM-Solver-2; an Euler step where it ends at 0."""
    if sigma_next == 0:
        return euler_step(x, sigma, sigma_next, denoised)
    middle = sigma.log().lerp(sigma_next.log(), 0.5).exp()
    halfway = euler_step(x, sigma, middle, denoised)
    return x + slope(halfway, middle, denoise(halfway, middle)) * (sigma_next - sigma)


def ancestral_split(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the sigma to step down to, and the noise that leads back up to `sigma_next`.

    Their squares add up to sigma_next squared; eta = 0 adds no noise.
    """
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2) ** 0.5, up
