"""Samplers on flow-matching models, where a latent is (1 - sigma) image + sigma noise.

Divided by 1 - sigma such a latent is image + noise at level sigma / (1 - sigma), the form that
the other files are written for, so most samplers run there. The ancestral ones have a rule of
their own for how far down a step goes before its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep, pairs, slope

# Share of the image in pure noise; exactly zero has no ratio.
MIN_IMAGE_SHARE = 1e-10
# The middle of a step from level 1, whose logarithmic ratio is infinite.
MIDDLE_OF_FIRST = 0.9999


def by_ratio(sampler: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A sampler in the form divided by the image's share, from and to flow's own form."""

    @wraps(sampler)
    def sample(
        denoise: Callable[[Tensor, Tensor], Any],
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: Noise,
        on_step: OnStep,
        tau: Callable[[Tensor], float] | None = None,
        **options: Any,
    ) -> Tensor:
        def ask(y: Tensor, ratio: Tensor) -> Any:
            return denoise(y / (1 + ratio), _level(ratio))

        def draw(ratio: Tensor, ratio_next: Tensor) -> Tensor:
            return noise(_level(ratio), _level(ratio_next))

        if tau is not None:
            options["tau"] = lambda ratio: tau(_level(ratio))
        image = (1 - sigmas).clamp(min=MIN_IMAGE_SHARE)
        y = sampler(ask, x / image[0], sigmas / image, noise=draw, on_step=on_step, **options)
        return y * image[-1]

    return sample


def _level(ratio: Tensor) -> Tensor:
    return ratio / (1 + ratio)


def flow_euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """Euler steps with fresh noise after each; eta = 0 is plain Euler.

    Order 1, one model call a step. Draws noise once a step but the last, which gives D.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        down = _down(sigma, sigma_next, eta)
        x = (down / sigma) * x + (1 - down / sigma) * denoised
        x = _renoised(x, down, sigma, sigma_next, noise, eta)
    return x


def flow_dpm_2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """Midpoint steps with fresh noise after each.

    Two model calls a step but the last. Draws noise once a step but the last.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, way = _down(sigma, sigma_next, eta), slope(x, sigma, denoised)
        if down == 0:
            x = x + way * (down - sigma)
            continue
        middle = sigma.log().lerp(down.log(), 0.5).exp()
        halfway = x + way * (middle - sigma)
        x = x + slope(halfway, middle, denoise(halfway, middle)) * (down - sigma)
        x = _renoised(x, down, sigma, sigma_next, noise, eta)
    return x


def flow_dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 1.0,
) -> Tensor:
    """Single-step DPM-Solver++ of order 2 with fresh noise after each step.

    Two model calls a step but the last. Draws noise once a step but the last.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        if sigma_next == 0:
            x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
            continue
        down = _down(sigma, sigma_next, eta)
        middle = _middle(sigma, down)
        halfway = (middle / sigma) * x + (1 - middle / sigma) * denoised
        x = (down / sigma) * x + (1 - down / sigma) * denoise(halfway, middle)
        x = _renoised(x, down, sigma, sigma_next, noise, eta)
    return x


def _down(sigma: Tensor, sigma_next: Tensor, eta: float) -> Tensor:
    """The level to step down to before the noise that leads up to `sigma_next`."""
    return sigma_next * (1 + (sigma_next / sigma - 1) * eta)


def _renoised(
    x: Tensor, down: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Noise, eta: float
) -> Tensor:
    """x at level `down` with as much image and noise as `sigma_next` has."""
    if not eta:
        return x
    share = (1 - sigma_next) / (1 - down)
    spread = (sigma_next**2 - (down * share) ** 2) ** 0.5
    return share * x + noise(sigma, sigma_next) * spread


def _middle(sigma: Tensor, down: Tensor) -> Tensor:
    """The level whose ratio is the geometric mean of those of two."""
    if sigma == 1:
        return torch.full_like(sigma, MIDDLE_OF_FIRST)
    return _level((sigma / (1 - sigma) * down / (1 - down)).sqrt())
