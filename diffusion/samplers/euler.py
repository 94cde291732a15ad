"""First-order samplers, Heun's correction, DDPM, and LCM."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..images.resize import resize
from .step import Denoiser, SamplingSteps, StepNoise, ancestral_split, euler_step, slope


def euler(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take Euler steps on the probability-flow ODE; DDIM without noise is the same.

    Order 1, one model call a step, draws no noise.
    Source: arXiv 2206.00364, algorithm 2 without churn.
    """
    for sigma, sigma_next in steps:
        x = euler_step(x, sigma, sigma_next, denoise(x, sigma))
    return x


def euler_ancestral(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise, eta: float = 1.0
) -> Tensor:
    """Take Euler steps with fresh noise after each; eta = 0 is plain Euler.

    Order 1, one model call a step. Draws noise once a step but the last, which gives D.
    Source: k-diffusion.
    """
    for sigma, sigma_next in steps:
        denoised = denoise(x, sigma)
        down, up = ancestral_split(sigma, sigma_next, eta)
        if down == 0:
            x = denoised
        else:
            x = euler_step(x, sigma, down, denoised) + noise(sigma, sigma_next) * up
    return x


def heun(denoise: Denoiser, x: Tensor, steps: SamplingSteps) -> Tensor:
    """Take Euler steps, each corrected by the mean of the slopes at both ends.

    Order 2, two model calls a step but the last, draws no noise.
    Source: arXiv 2206.00364, algorithm 1.
    """
    for sigma, sigma_next in steps:
        start = slope(x, sigma, denoise(x, sigma))
        ahead = x + start * (sigma_next - sigma)
        if sigma_next > 0:
            end = slope(ahead, sigma_next, denoise(ahead, sigma_next))
            ahead = x + (start + end) / 2 * (sigma_next - sigma)
        x = ahead
    return x


def ddpm(denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, noise: StepNoise) -> Tensor:
    """Draw from DDPM's posterior between two sigmas, in variance-preserving form.

    Order 1, one model call a step. Draws noise once a step but the last.
    Source: arXiv 2006.11239, algorithm 2, with alpha_bar = 1 / (1 + sigma²).
    """
    for sigma, sigma_next in steps:
        epsilon = slope(x, sigma, denoise(x, sigma))
        bar, bar_next = 1 / (sigma**2 + 1), 1 / (sigma_next**2 + 1)
        alpha = bar / bar_next
        x = x / (1 + sigma**2) ** 0.5
        x = (1 / alpha) ** 0.5 * (x - (1 - alpha) * epsilon / (1 - bar) ** 0.5)
        if sigma_next > 0:
            spread = ((1 - alpha) * (1 - bar_next) / (1 - bar)) ** 0.5
            x = (x + spread * noise(sigma, sigma_next)) * (1 + sigma_next**2) ** 0.5
    return x


def lcm(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise: StepNoise,
    first: float = 1.0,
    last: float = 1.0,
    clip: float = 0.0,
) -> Tensor:
    """Go to D and add noise for the next sigma: for models distilled to need few steps.

    One model call a step. Draws noise once a step but the last.

    Args:
        first, last: factors on the noise of the first and of the last step, linear between them.
        clip: largest size of the noise, in its standard deviations; 0 has no limit.

    Source: arXiv 2310.04378, algorithm 3.
    """
    for i, (sigma, sigma_next) in enumerate(steps):
        x = denoise(x, sigma)
        if sigma_next > 0:
            drawn = noise(sigma, sigma_next)
            if clip > 0:
                limit = clip * drawn.std()
                drawn = drawn.clamp(-limit, limit)
            factor = first + (last - first) * i / max(len(steps) - 1, 1)
            x = x + drawn * sigma_next * factor
    return x


def lcm_upscale(
    denoise: Denoiser,
    x: Tensor,
    steps: SamplingSteps,
    *,
    noise_like: Callable[[Tensor], Tensor],
    scale: float = 1.0,
    scale_steps: int = -1,
    method: str = "bislerp",
) -> Tensor:
    """Take LCM steps, and enlarge the latent step by step to `scale` times its size.

    One model call a step. Draws noise of the latent's new size once a step but the last.

    Args:
        noise_like: draws noise of its argument's shape.
        scale_steps: number of the first steps that enlarge it; -1 is half of them.
        method: interpolation; see `diffusion.images.resize.resize`.
    """
    scale_steps = max(len(steps) + 1, 2) // 2 if scale_steps < 0 else min(scale_steps, len(steps))
    height, width = x.shape[-2:]
    for i, (sigma, sigma_next) in enumerate(steps):
        x = denoise(x, sigma)
        if i < scale_steps:
            factor = 1 + (scale - 1) * (i + 1) / scale_steps
            x = resize(x, max(round(width * factor), 1), max(round(height * factor), 1), method)
        if sigma_next > 0:
            x = x + noise_like(x) * sigma_next
    return x
