"""What every sampler is given, and the arithmetic that several share.

A sampler is `(denoise, x, sigmas, *, noise, on_step) -> x`: x a latent at level sigmas[0], sigmas
descending float32 levels. The result is x at the last level. Levels are 0-dim float32 tensors
throughout, as in the implementations that the results are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
PairDenoise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Noise = Callable[[Tensor, Tensor], Tensor]
OnStep = Callable[[int, Tensor], None]


def pairs(sigmas: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(index, sigma, sigma_next) of each step."""
    for index in range(len(sigmas) - 1):
        yield index, sigmas[index], sigmas[index + 1]


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE. Source: arXiv 2206.00364, equation 3."""
    return (x - denoised) / sigma


def ancestral_split(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The level to step down to, and the noise to add to be at `sigma_next` again.

    Their squares add up to sigma_next squared; eta = 0 adds no noise.
    """
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = up.minimum(sigma_next)
    return (sigma_next**2 - up**2) ** 0.5, up
