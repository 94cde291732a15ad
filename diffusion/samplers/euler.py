"""First-order samplers, Heun's correction, what steps in VP form, and LCM."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..images.resize import resize
from .step import Denoise, Noise, OnStep, ancestral_split, pairs, slope


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep) -> Tensor:
    """Euler steps on the probability-flow ODE; DDIM without noise is the same.

    Order 1, one model call a step, draws no noise.
    Source: arXiv 2206.00364, algorithm 2 without churn.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        x = x + slope(x, sigma, denoised) * (sigma_next - sigma)
    return x


def euler_ancestral(
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
    Source: k-diffusion.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0:
            x = denoised
        else:
            x = x + slope(x, sigma, denoised) * (down - sigma) + noise(sigma, sigma_next) * up
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep) -> Tensor:
    """Euler steps, each corrected by the mean of the slopes at both ends.

    Order 2, two model calls a step but the last, draws no noise.
    Source: arXiv 2206.00364, algorithm 1.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        start = slope(x, sigma, denoised)
        ahead = x + start * (sigma_next - sigma)
        if sigma_next > 0:
            end = slope(ahead, sigma_next, denoise(ahead, sigma_next))
            ahead = x + (start + end) / 2 * (sigma_next - sigma)
        x = ahead
    return x


def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep) -> Tensor:
    """The posterior of DDPM between two levels, in variance-preserving form.

    Order 1, one model call a step. Draws noise once a step but the last.
    Source: arXiv 2006.11239, algorithm 2, with alpha_bar = 1 / (1 + sigma²).
    """
    for i, sigma, sigma_next in pairs(sigmas):
        denoised = denoise(x, sigma)
        on_step(i, denoised)
        epsilon = slope(x, sigma, denoised)
        bar, bar_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = bar / bar_next
        x = x / (1 + sigma**2) ** 0.5
        x = (1 / alpha) ** 0.5 * (x - (1 - alpha) * epsilon / (1 - bar) ** 0.5)
        if sigma_next > 0:
            spread = ((1 - alpha) * (1 - bar_next) / (1 - bar)) ** 0.5
            x = (x + spread * noise(sigma, sigma_next)) * (1 + sigma_next**2) ** 0.5
    return x


def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: Noise, on_step: OnStep) -> Tensor:
    """Go to D and add noise for the next level: for models distilled to need few steps.

    One model call a step. Draws noise once a step but the last.
    Source: arXiv 2310.04378, algorithm 3.
    """
    for i, sigma, sigma_next in pairs(sigmas):
        x = denoise(x, sigma)
        on_step(i, x)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * sigma_next
    return x


def lcm_upscale(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    on_step: OnStep,
    noise_like: Callable[[Tensor], Tensor],
    scale: float = 1.0,
    scale_steps: int = -1,
    method: str = "bislerp",
) -> Tensor:
    """LCM steps between which the latent grows to `scale` times its size, a little after each.

    One model call a step. Draws noise of the latent's new size once a step but the last.

    Args:
        noise_like: noise of the shape of what it is given.
        scale_steps: after so many of the first steps it grows; -1 is half of them.
        method: how; see `diffusion.images.resize.resize`.
    """
    steps = len(sigmas) - 1
    growing = max(steps + 1, 2) // 2 if scale_steps < 0 else min(scale_steps, steps)
    height, width = x.shape[-2:]
    for i, sigma, sigma_next in pairs(sigmas):
        x = denoise(x, sigma)
        on_step(i, x)
        if i < growing:
            factor = 1 + (scale - 1) * (i + 1) / growing
            x = resize(x, max(round(width * factor), 1), max(round(height * factor), 1), method)
        if sigma_next > 0:
            x = x + noise_like(x) * sigma_next
    return x
