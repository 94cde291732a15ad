"""Heun++, the exponential multistep of RES, and gradient estimation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .step import Denoise, Noise, OnStep, PairDenoise, ancestral_split, pairs, slope


def heunpp2(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep
) -> Tensor:
    """Heun with a look two steps ahead, each slope weighed by its noise level.

    Three model calls a step, two in the last but one, one in the last; draws no noise.
    Source: the sampler of arXiv 2311.17043's authors, "Heun++".
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        slopes = [slope(x, sigma, denoised)]
        ahead, width = x + slopes[0] * (sigma_next - sigma), sigma_next - sigma
        levels = sigmas[i + 1 : i + 3] if i + 2 < len(sigmas) else sigmas[:0]
        if len(levels):
            slopes.append(slope(ahead, sigma_next, denoise(ahead, sigma_next)))
        if i + 3 < len(sigmas):
            ahead = ahead + slopes[1] * (levels[1] - sigma_next)
            slopes.append(slope(ahead, levels[1], denoise(ahead, levels[1])))
        later = [level / (len(slopes) * sigmas[0]) for level in levels[: len(slopes) - 1]]
        first = 1 - sum(later, torch.zeros_like(sigma))
        terms = zip([first, *later], slopes, strict=True)
        x = x + sum(weight * each for weight, each in terms) * width
    return x


def _res_multistep(
    denoise: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 0.0,
) -> Tensor:
    """Exponential multistep of order 2 with phi functions.

    `denoise` gives D and the prediction that the noise is measured from. One model call a step;
    draws noise once a step but the last if eta is above 0.
    Source: arXiv 2308.02157, the multistep form.
    """
    last: Tensor | None = None
    down_last = sigmas[0]
    for i, sigma, sigma_next in pairs(sigmas):
        denoised, base = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0 or last is None:
            x = denoised + slope(x, sigma, base) * down
        else:
            h = sigma.log() - down.log()
            c2 = (down_last.log() - sigmas[i - 1].log()) / h
            phi_1 = torch.expm1(-h) / -h
            phi_2 = (phi_1 - 1) / -h
            b2 = torch.nan_to_num(phi_2 / c2, nan=0.0)
            b1 = torch.nan_to_num(phi_1 - phi_2 / c2, nan=0.0)
            x = torch.exp(-h) * (x + (denoised - base)) + h * (b1 * base + b2 * last)
        if eta and sigma_next > 0:
            x = x + noise(sigma, sigma_next) * up
        last, down_last = base, down
    return x


def _twice(denoise: Denoise) -> PairDenoise:
    def both(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = denoise(x, sigma)
        return denoised, denoised

    return both


def res_multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    eta: float = 0.0,
) -> Tensor:
    """RES multistep on the ODE, or with the noise of eta; see `_res_multistep`."""
    return _res_multistep(_twice(denoise), x, sigmas, noise=noise, on_step=on_step, eta=eta)


res_multistep_ancestral = partial(res_multistep, eta=1.0)
res_multistep_cfg_pp = _res_multistep
res_multistep_ancestral_cfg_pp = partial(_res_multistep, eta=1.0)


def gradient_estimation_cfg_pp(
    denoise: PairDenoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    gamma: float = 2.0,
) -> Tensor:
    """Euler with the slope extrapolated from the last one; the last step gives D.

    One model call a step, draws no noise. Source: arXiv 2306.04848, with gamma = 2.
    """
    last: Tensor | None = None
    for i, sigma, sigma_next in pairs(sigmas):
        denoised, base = denoise(x, sigma)
        on_step(i, denoised)
        now = slope(x, sigma, base)
        if sigma_next == 0:
            x = denoised
            continue
        x = denoised + now * sigma_next
        if last is not None:
            x = x + (gamma - 1) * (now - last) * (sigma_next - sigma)
        last = now
    return x


def gradient_estimation(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep
) -> Tensor:
    """Gradient estimation without CFG++; see `gradient_estimation_cfg_pp`."""
    return gradient_estimation_cfg_pp(_twice(denoise), x, sigmas, noise=noise, on_step=on_step)
