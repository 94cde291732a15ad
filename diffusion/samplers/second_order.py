"""Heun++, the exponential multistep of RES, and gradient estimation."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from .step import Denoiser, PairDenoiser, SamplingSteps, StepNoise, ancestral_split, slope


def heunpp2(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take Heun steps that look two steps ahead, each slope weighed by its sigma.

    Three model calls a step, two in the last but one, one in the last; draws no noise.
    Source: the sampler of arXiv 2311.17043's authors, "Heun++".
    """
    sigmas = steps.sigmas
    for i, (sigma, sigma_next) in enumerate(steps):
        slopes = [slope(x, sigma, denoise(x, sigma))]
        ahead, width = x + slopes[0] * (sigma_next - sigma), sigma_next - sigma
        following = sigmas[i + 1 : i + 3] if i + 2 < len(sigmas) else sigmas[:0]
        if len(following):
            slopes.append(slope(ahead, sigma_next, denoise(ahead, sigma_next)))
        if i + 3 < len(sigmas):
            ahead = ahead + slopes[1] * (following[1] - sigma_next)
            slopes.append(slope(ahead, following[1], denoise(ahead, following[1])))
        later = [at / (len(slopes) * sigmas[0]) for at in following[: len(slopes) - 1]]
        first = 1 - sum(later, torch.zeros_like(sigma))
        terms = zip([first, *later], slopes, strict=True)
        x = x + sum(weight * at for weight, at in terms) * width
    return x


def _res_multistep(
    denoise: PairDenoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Take exponential multisteps of order 2 with phi functions.

    `denoise` gives D and the prediction that the noise is measured from. One model call a step;
    draws noise once a step but the last, if there is `noise`.
    Source: arXiv 2308.02157, the multistep form.
    """
    last: Tensor | None = None
    down_last = steps.sigmas[0]
    for i, (sigma, sigma_next) in enumerate(steps):
        denoised, base = denoise(x, sigma)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0 or last is None:
            x = denoised + slope(x, sigma, base) * down
        else:
            h = sigma.log() - down.log()
            c2 = (down_last.log() - steps.sigmas[i - 1].log()) / h
            phi_1 = torch.expm1(-h) / -h
            phi_2 = (phi_1 - 1) / -h
            b2 = torch.nan_to_num(phi_2 / c2, nan=0.0)
            b1 = torch.nan_to_num(phi_1 - phi_2 / c2, nan=0.0)
            x = torch.exp(-h) * (x + (denoised - base)) + h * (b1 * base + b2 * last)
        if noise is not None and sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
        last, down_last = base, down
    return x


def _without_guidance(denoise: Denoiser) -> PairDenoiser:
    def pair(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = denoise(x, sigma)
        return denoised, denoised

    return pair


def res_multistep(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take RES multisteps on the ODE; see `_res_multistep`."""
    return _res_multistep(_without_guidance(denoise), x, steps)


def res_multistep_ancestral(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise, eta: float = 1.0
) -> Tensor:
    """Take RES multisteps with fresh noise after each; see `_res_multistep`."""
    return _res_multistep(_without_guidance(denoise), x, steps, noise=noise, eta=eta)


res_multistep_cfg_pp = _res_multistep
res_multistep_ancestral_cfg_pp = partial(_res_multistep, eta=1.0)


def gradient_estimation_cfg_pp(
    denoise: PairDenoiser, x: Tensor, steps: SamplingSteps, *, gamma: float = 2.0
) -> Tensor:
    """Take Euler steps with the slope extrapolated from the last one; the last step gives D.

    One model call a step, draws no noise. Source: arXiv 2306.04848, with gamma = 2.
    """
    last: Tensor | None = None
    for sigma, sigma_next in steps:
        denoised, base = denoise(x, sigma)
        now = slope(x, sigma, base)
        if sigma_next == 0:
            x = denoised
            continue
        x = denoised + now * sigma_next
        if last is not None:
            x = x + (gamma - 1) * (now - last) * (sigma_next - sigma)
        last = now
    return x


def gradient_estimation(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take the steps of `gradient_estimation_cfg_pp` without CFG++."""
    return gradient_estimation_cfg_pp(_without_guidance(denoise), x, steps)
