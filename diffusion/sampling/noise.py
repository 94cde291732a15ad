"""Noise by seed: the first of a run, that of each step, and Brownian paths.

All of it comes from generators of this module's own making, on the CPU unless a sampler's name
says otherwise, so the same seed gives the same numbers on every machine and nothing else in the
process is disturbed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..samplers.step import StepNoise
from .compatibility import CompatibilityMode

if TYPE_CHECKING:
    from torchsde import BrownianTree


@dataclass(frozen=True)
class NoiseChoice:
    """The noise of a run as it travels on edges.

    Attributes:
        seed: 0 to 2^64 - 1, for the first noise and that of the steps.
        add: False starts from the latent itself; the steps draw theirs all the same.
    """

    seed: int
    add: bool = True


def start_noise(
    shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None
) -> Tensor:
    """The noise a run starts from, float32 on the CPU.

    Args:
        shape: B×C×h×w.
        seed: 0 to 2^64 - 1.
        batch_index: which member of a batch each latent is; members are drawn one after
            another, so that one of them can be made again alone. Equal members share noise.
    """
    return _drawn(shape, torch.Generator().manual_seed(seed), batch_index)


def draws_after(
    shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None
) -> torch.Generator:
    """What a seed's generator gives after `start_noise`, for what else a run draws."""
    generator = torch.Generator().manual_seed(seed)
    _drawn(shape, generator, batch_index)
    return generator


def _drawn(
    shape: Sequence[int], generator: torch.Generator, batch_index: Sequence[int] | None
) -> Tensor:
    if batch_index is None:
        return torch.randn(tuple(shape), generator=generator)
    one = (1, *shape[1:])
    drawn = [torch.randn(one, generator=generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([drawn[index] for index in batch_index])


def step_noise(x: Tensor, seed: int, mode: CompatibilityMode = "current") -> StepNoise:
    """Fresh noise for each step of an ancestral sampler, of x's shape; see `noise_like`."""
    draw = noise_like(x, seed, mode)
    return lambda _sigma, _sigma_next: draw(x)


def noise_like(
    x: Tensor, seed: int, mode: CompatibilityMode = "current"
) -> Callable[[Tensor], Tensor]:
    """Fresh noise of the shape of what it is given, on x's device.

    Args:
        mode: "current" adds 1 to the seed on the CPU, so that the first draw differs from the
            noise the run started from; "0.3.64" is that version of ComfyUI, which adds nothing.
    """
    shift = 1 if mode == "current" and x.device.type == "cpu" else 0
    generator = torch.Generator(device=x.device).manual_seed((seed + shift) % 2**64)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=x.dtype, device=x.device, generator=generator)

    return draw


def brownian_noise(x: Tensor, sigmas: Tensor, seed: int, cpu: bool = True) -> StepNoise:
    """Increments of one Brownian path over the levels, scaled to unit variance.

    The path depends on the seed and the ends of the schedule alone, so that the noise between
    two levels is the same however many steps lie between.

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
            # The ends are float32 levels as doubles; the tree says so when they meet its own.
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
