"""Noise levels by formula, for the scheduler nodes; and levels cut, joined and turned round."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from .model_sampling import ModelSampling

# Source: Align Your Steps (arXiv 2404.14507), the tables of its project page.
ALIGN_YOUR_STEPS = {
    "SD1": (
        14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
        0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582,
    ),
    "SDXL": (
        14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
        0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
    ),
    "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip
FLIPPED_START = 0.0001


def polynomial(steps: int, low: float, high: float, rho: float) -> Tensor:
    """Even in sigma^(1/rho), then 0. Source: arXiv 2206.00364, equation 5."""
    ramp = torch.linspace(0, 1, steps)
    ends = (low ** (1 / rho), high ** (1 / rho))
    return ended((ends[1] + ramp * (ends[0] - ends[1])) ** rho)


def exponential(steps: int, low: float, high: float) -> Tensor:
    """Even in log sigma, then 0."""
    return ended(torch.linspace(math.log(high), math.log(low), steps).exp())


def polyexponential(steps: int, low: float, high: float, rho: float = 1.0) -> Tensor:
    """A power `rho` of an even ramp in log sigma, then 0. Source: k-diffusion."""
    ramp = torch.linspace(1, 0, steps) ** rho
    return ended((ramp * (math.log(high) - math.log(low)) + math.log(low)).exp())


def variance_preserving(steps: int, beta_d: float, beta_min: float, end: float) -> Tensor:
    """Even in the time of a VP process with linear beta, down to `end`, then 0.

    Source: arXiv 2011.13456, equation 32; arXiv 2206.00364, table 1.
    """
    time = torch.linspace(1, end, steps)
    return ended(torch.expm1(beta_d * time**2 / 2 + beta_min * time).sqrt())


def laplace(steps: int, low: float, high: float, mu: float, beta: float) -> Tensor:
    """Quantiles of a Laplace distribution in log sigma, cut to the ends; no 0 behind them.

    Source: arXiv 2407.03297; ComfyUI, whose levels end above 0 too.
    """
    share = torch.linspace(0, 1, steps)
    spread = torch.log(1 - 2 * (0.5 - share).abs() + 1e-5)
    levels = (mu - beta * torch.sign(0.5 - share) * spread).exp()
    return levels.clamp(low, high)


def sd_turbo(sampling: ModelSampling, steps: int, denoise: float) -> Tensor:
    """The levels of the timesteps 999, 899, ..., 99 that a turbo model was distilled on, then 0.

    Args:
        denoise: below 1 the first of the ten are left out.
    """
    start = 10 - int(10 * denoise)
    timesteps = torch.arange(999, 0, -100)[start : start + steps]
    return ended(sampling.sigma(timesteps))


def align_your_steps(kind: str, steps: int, denoise: float) -> Tensor:
    """A published table of levels, log-linearly interpolated to other lengths; the last is 0.

    Args:
        kind: a key of ALIGN_YOUR_STEPS.
        denoise: below 1 only the last round(steps * denoise) steps are kept.
    """
    return tail_of_table(torch.tensor(ALIGN_YOUR_STEPS[kind], dtype=torch.float64), steps, denoise)


def tail_of_table(table: Tensor, steps: int, denoise: float) -> Tensor:
    """The last round(steps * denoise) steps of a table of levels; their last is 0.

    Args:
        table: float64, log-linearly interpolated if it has another number of steps.
    """
    if steps + 1 != len(table):
        table = _log_linear(table, steps + 1)
    if denoise <= 0:
        return torch.empty(0)
    levels = table[-(round(steps * denoise) + 1) :].float()
    levels[-1] = 0
    return levels


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Levels up to a step, and from it on; both hold the level in between."""
    return sigmas[: step + 1], sigmas[step:]


def split_denoise(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """Levels split so that the second part has a share `denoise` of the steps.

    Where that is none, the first part is empty and the second is the last level, as in ComfyUI.
    """
    steps = max(len(sigmas) - 1, 0)
    low = round(steps * denoise)
    high, rest = split(sigmas, steps - low)
    return (high if low else sigmas[:0]), rest


def flip(sigmas: Tensor) -> Tensor:
    """Levels in rising order, to run a model backwards; a first one of 0 becomes small."""
    flipped = sigmas.flip(0).clone()
    if len(flipped) and flipped[0] == 0:
        flipped[0] = FLIPPED_START
    return flipped


def extended(sigmas: Tensor, parts: int, start: float, end: float, spacing: str) -> Tensor:
    """Levels with each step that starts between two levels cut into parts.

    Args:
        parts: how many steps one becomes.
        start, end: the highest and the lowest level at which a step is cut.
        spacing: `linear`; `cosine` makes the first parts of a step longer, `sine` the last.
    """
    share = torch.linspace(0, 1, parts + 1)[1:-1]
    if spacing == "cosine":
        share = torch.sin(share * torch.pi / 2)
    elif spacing == "sine":
        share = 1 - torch.cos(share * torch.pi / 2)
    pieces = list[Tensor]()
    for level, following in itertools.pairwise(sigmas):
        pieces.append(level[None])
        if end <= float(level) <= start:
            pieces.append(level + share * (following - level))
    return torch.cat([*pieces, sigmas[-1:]])


def with_first(sigmas: Tensor, level: float) -> Tensor:
    """The same levels, but another first one."""
    changed = sigmas.clone()
    changed[:1] = level
    return changed


def ended(levels: Tensor) -> Tensor:
    """float32 levels with a 0 behind them."""
    return torch.cat([levels.float(), torch.zeros(1)])


def _log_linear(table: Tensor, count: int) -> Tensor:
    places = torch.linspace(0, len(table) - 1, count, dtype=torch.float64)
    low = places.floor().long().clamp(max=len(table) - 2)
    share = places - low
    logs = table.log()
    return ((1 - share) * logs[low] + share * logs[low + 1]).exp()
