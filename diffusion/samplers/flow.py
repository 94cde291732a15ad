"""Samplers for flow-matching models, where a latent is (1 - sigma) image + sigma noise.

Divided by 1 - sigma such a latent is image + noise at the ratio sigma / (1 - sigma), the form that
the other files are written for, so most samplers run there. The ancestral ones have their own rule
for how far down a step goes before its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from .step import Denoiser, SamplingSteps, StepNoise, euler_step, midpoint_step

# Share of the image in pure noise; exactly zero has no ratio.
MIN_IMAGE_SHARE = 1e-10
# The middle of a step from sigma 1, whose logarithmic ratio is infinite.
MIDDLE_OF_FIRST = 0.9999

# (denoise, x, sigma, sigma_next, D at sigma) -> x at sigma_next
OdeStep = Callable[[Denoiser, Tensor, Tensor, Tensor, Tensor], Tensor]


def by_ratio(sampler: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the sampler for flow's own form: divided by the image's share, and back."""

    @wraps(sampler)
    def sample(
        denoise: Callable[[Tensor, Tensor], Any],
        x: Tensor,
        steps: SamplingSteps,
        *,
        noise: StepNoise | None = None,
        tau: Callable[[Tensor], float] | None = None,
        **options: Any,
    ) -> Tensor:
        def denoise_ratio(y: Tensor, ratio: Tensor) -> Any:
            return denoise(y / (1 + ratio), _sigma(ratio))

        if noise is not None:
            options["noise"] = lambda ratio, following: noise(_sigma(ratio), _sigma(following))
        image = (1 - steps.sigmas).clamp(min=MIN_IMAGE_SHARE)
        ratios = replace(steps, sigmas=steps.sigmas / image)
        if tau is not None:
            # As they are, since tau changes at given sigmas.
            sigmas = dict(zip(ratios.sigmas.tolist(), steps.sigmas, strict=True))
            options["tau"] = lambda ratio: tau(sigmas[float(ratio)])
        return sampler(denoise_ratio, x / image[0], ratios, **options) * image[-1]

    return sample


def _sigma(ratio: Tensor) -> Tensor:
    return ratio / (1 + ratio)


def flow_ancestral(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    ode_step: OdeStep,
    eta: float = 1.0,
) -> Tensor:
    """Take steps of an ODE solver with fresh noise after each; eta = 0 adds none.

    Draws noise once a step but the last. The noise restores `sigma_next`: after it x has the
    share of image and of noise that belongs there.
    """
    for sigma, sigma_next in steps:
        down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
        x = ode_step(denoise, x, sigma, down, denoise(x, sigma))
        if eta and sigma_next > 0:
            share = (1 - sigma_next) / (1 - down)
            spread = (sigma_next**2 - (down * share) ** 2) ** 0.5
            x = share * x + noise(sigma, sigma_next) * spread
    return x


def _euler(
    _denoise: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor
) -> Tensor:
    """Take an Euler step, written so that a step to 0 gives D."""
    return (sigma_next / sigma) * x + (1 - sigma_next / sigma) * denoised


def _dpmpp_2s(
    denoise: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, denoised: Tensor
) -> Tensor:
    """Take a step of DPM-Solver++ 2S: two model calls, or one where it ends at 0."""
    if sigma_next == 0:
        return euler_step(x, sigma, sigma_next, denoised)
    middle = _middle(sigma, sigma_next)
    halfway = _euler(denoise, x, sigma, middle, denoised)
    return _euler(denoise, x, sigma, sigma_next, denoise(halfway, middle))


def _middle(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Return the sigma whose ratio is the geometric mean of both."""
    if sigma == 1:
        return torch.full_like(sigma, MIDDLE_OF_FIRST)
    return _sigma((sigma / (1 - sigma) * sigma_next / (1 - sigma_next)).sqrt())


flow_euler_ancestral = partial(flow_ancestral, ode_step=_euler)
flow_dpm_2_ancestral = partial(flow_ancestral, ode_step=midpoint_step)
flow_dpmpp_2s_ancestral = partial(flow_ancestral, ode_step=_dpmpp_2s)
