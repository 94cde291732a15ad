"""Noise by seed: the initial noise of a run, the noise of its steps, and Brownian paths.

It comes from generators that this module makes, on the CPU unless a sampler's name says otherwise.
So a seed gives the same numbers on every machine, and torch's global generator stays unchanged.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..compatibility import CompatibilityMode
from ..samplers.step import StepNoise

if TYPE_CHECKING:
    from torchsde import BrownianTree


@dataclass(frozen=True)
class NoiseChoice:
    """The noise of a run as it travels on edges.

    Attributes:
        seed: 0 to 2^64 - 1, for the initial noise and that of the steps.
        add: False starts from the latent itself; the steps still draw noise.
        seeds: of equal parts of a batch that were put together; empty for one seed.
    """

    seed: int
    add: bool = True
    seeds: tuple[int, ...] = ()


def start_noise(
    shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None
) -> Tensor:
    """Return the initial noise of a run, float32 on the CPU.

    Args:
        shape: B×C×h×w.
        seed: 0 to 2^64 - 1.
        batch_index: index in its original batch of each latent; noise is drawn index by index,
            so that a single one can be reproduced. Equal indices share noise.
    """
    return _draw(shape, torch.Generator().manual_seed(seed), batch_index)


def batch_noise(
    shape: Sequence[int], noise: NoiseChoice, batch_index: Sequence[int] | None = None
) -> Tensor:
    """Return the initial noise of a batch, each part of it by its own seed; see `start_noise`."""
    if not noise.seeds:
        return start_noise(shape, noise.seed, batch_index)
    part = (shape[0] // len(noise.seeds), *shape[1:])
    return torch.cat([start_noise(part, seed) for seed in noise.seeds])


def generator_after_start(
    shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None
) -> torch.Generator:
    """Return a seed's generator as it is after `start_noise`, for other draws of the run."""
    generator = torch.Generator().manual_seed(seed)
    _draw(shape, generator, batch_index)
    return generator


def _draw(
    shape: Sequence[int], generator: torch.Generator, batch_index: Sequence[int] | None
) -> Tensor:
    if batch_index is None:
        return torch.randn(tuple(shape), generator=generator)
    one = (1, *shape[1:])
    noises = [torch.randn(one, generator=generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([noises[index] for index in batch_index])


def step_noise(x: Tensor, seed: int, mode: CompatibilityMode = "current") -> StepNoise:
    """Return a source of fresh noise of x's shape for each step; see `noise_like`."""
    draw = noise_like(x, seed, mode)
    return lambda _sigma, _sigma_next: draw(x)


def batch_step_noise(x: Tensor, noise: NoiseChoice, mode: CompatibilityMode) -> StepNoise:
    """Return a source of fresh noise for each step, each part of x by its own seed."""
    if not noise.seeds:
        return step_noise(x, noise.seed, mode)
    parts = zip(x.chunk(len(noise.seeds)), noise.seeds, strict=True)
    draws = [step_noise(part, seed, mode) for part, seed in parts]
    return lambda sigma, sigma_next: torch.cat([draw(sigma, sigma_next) for draw in draws])


def noise_like(
    x: Tensor, seed: int, mode: CompatibilityMode = "current"
) -> Callable[[Tensor], Tensor]:
    """Return a function that draws fresh noise of its argument's shape, on x's device.

    Args:
        mode: "current" adds 1 to the seed on the CPU, so that the first draw differs from the
            initial noise; ComfyUI 0.3.64 adds nothing.
    """
    shift = 1 if mode == "current" and x.device.type == "cpu" else 0
    generator = torch.Generator(device=x.device).manual_seed((seed + shift) % 2**64)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=x.dtype, device=x.device, generator=generator)

    return draw


def brownian_noise(x: Tensor, sigmas: Tensor, seed: int, cpu: bool = True) -> StepNoise:
    """Return the increments of one Brownian path over sigma, scaled to unit variance.

    The path depends only on the seed and the ends of the schedule, so that the noise between two
    sigmas is the same for any number of steps between them.

    Args:
        cpu: follow the path on the CPU, whatever device x is on.

    Source: torchsde's BrownianTree, as k-diffusion uses it.
    """
    positive = sigmas[sigmas > 0]
    tree = _tree(x.cpu() if cpu else x, float(positive.min()), float(sigmas.max()), seed)

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        start, end = float(sigma), float(sigma_next)
        sign = 1 if start < end else -1
        with warnings.catch_warnings():
            # The ends are float32 sigmas as doubles; the tree warns where they exceed its own.
            warnings.simplefilter("ignore")
            increment: Tensor = tree(min(start, end), max(start, end)) * sign
        scale = (sigma_next - sigma).abs().sqrt()
        return increment.to(x.device, x.dtype, non_blocking=True) / scale

    return draw


def _tree(x: Tensor, low: float, high: float, seed: int) -> BrownianTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchsde

        options: dict[str, Any] = {"entropy": seed}
        return torchsde.BrownianTree(low, torch.zeros_like(x), high, **options)
