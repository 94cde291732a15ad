"""The noise that training adds, and how much each timestep counts."""

from __future__ import annotations

from functools import cache

import torch
from diffusers import DDPMScheduler
from torch import Tensor

# Stable Diffusion 1.5's.
NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


@cache
def noise_schedule() -> DDPMScheduler:
    """Stable Diffusion 1.5's noise schedule."""
    return DDPMScheduler(**NOISE, clip_sample=False)


def draw_timesteps(
    count: int, generator: torch.Generator | None, device: torch.device | None = None
) -> Tensor:
    """One timestep from each of `count` equal strata: all noise levels alike.

    On another device than the processor they come in order: the images are mixed anyway.
    """
    if device is None or device.type == "cpu":
        strata, device = torch.randperm(count, generator=generator), torch.device("cpu")
    else:
        strata = torch.arange(count, device=device)
    share = (strata + torch.rand(count, generator=generator, device=device)) / count
    return (1000 * share).long().clamp(0, 999)


@cache
def _saved(device: torch.device) -> Tensor:
    """How much of the latents each timestep leaves, as a share of the variance."""
    shares: Tensor = noise_schedule().alphas_cumprod.to(device)
    return shares


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Latents at a timestep each."""
    saved = _saved(latents.device)[timesteps][:, None, None, None]
    return saved**0.5 * latents + (1 - saved) ** 0.5 * noise


@cache
def loss_weights(device: torch.device | None = None) -> Tensor:
    """The weight of each timestep's squared error.

    min-SNR-10 with high noise lifted by SNR^-1/2, at most tenfold: without the lift the prompt
    gets almost no gradient where the image's overall colour is decided, and the background
    comes from the seed. Outlines are finished at SNR 5 to 50, so the weight falls only from 10
    on. Source: min-SNR weighting, arXiv 2303.09556; the lift is this project's.
    """
    alpha_bar = _saved(device or torch.device("cpu"))
    snr: Tensor = alpha_bar / (1 - alpha_bar)
    return snr.clamp(max=10) / snr * snr.rsqrt().clamp(1, 10)


def noise_between(noisy: Tensor, latents: Tensor, timesteps: Tensor) -> Tensor:
    """The noise that leads from noisy latents to clean ones, whatever they were made from."""
    saved: Tensor = _saved(noisy.device)[timesteps][:, None, None, None]
    return (noisy - saved.sqrt() * latents) / (1 - saved).sqrt()


def weighted_error(got: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The mean squared error of a predicted noise, each image by its timestep's weight."""
    errors = (got - noise).pow(2).mean((1, 2, 3))
    return (errors * loss_weights(errors.device)[timesteps]).mean()
