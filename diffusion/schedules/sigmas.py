"""Sigmas by formula for the scheduler nodes, and functions that cut, extend and reverse sigmas."""

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
    """Space the sigmas evenly in sigma^(1/rho), then 0. Source: arXiv 2206.00364, equation 5."""
    ramp = torch.linspace(0, 1, steps)
    ends = (low ** (1 / rho), high ** (1 / rho))
    return append_zero((ends[1] + ramp * (ends[0] - ends[1])) ** rho)


def exponential(steps: int, low: float, high: float) -> Tensor:
    """Space the sigmas evenly in log sigma, then 0."""
    return append_zero(torch.linspace(math.log(high), math.log(low), steps).exp())


def polyexponential(steps: int, low: float, high: float, rho: float = 1.0) -> Tensor:
    """Space log sigma by the power `rho` of an even ramp, then 0. Source: k-diffusion."""
    ramp = torch.linspace(1, 0, steps) ** rho
    return append_zero((ramp * (math.log(high) - math.log(low)) + math.log(low)).exp())


def variance_preserving(steps: int, beta_d: float, beta_min: float, end: float) -> Tensor:
    """Space the sigmas evenly in the time of a VP process with linear beta, to `end`, then 0.

    Source: arXiv 2011.13456, equation 32; arXiv 2206.00364, table 1.
    """
    time = torch.linspace(1, end, steps)
    return append_zero(torch.expm1(beta_d * time**2 / 2 + beta_min * time).sqrt())


def laplace(steps: int, low: float, high: float, mu: float, beta: float) -> Tensor:
    """Take quantiles of a Laplace distribution in log sigma, clamped to the ends, without a 0.

    Source: arXiv 2407.03297; in ComfyUI the last sigma is above 0 too.
    """
    share = torch.linspace(0, 1, steps)
    spread = torch.log(1 - 2 * (0.5 - share).abs() + 1e-5)
    sigmas = (mu - beta * torch.sign(0.5 - share) * spread).exp()
    return sigmas.clamp(low, high)


def sd_turbo(sampling: ModelSampling, steps: int, denoise: float) -> Tensor:
    """Take the sigmas of the timesteps 999, 899, ..., 99 that a turbo model knows, then 0.

    Args:
        denoise: below 1 leaves out the first of the ten.
    """
    start = 10 - int(10 * denoise)
    timesteps = torch.arange(999, 0, -100)[start : start + steps]
    return append_zero(sampling.sigma(timesteps))


def align_your_steps(kind: str, steps: int, denoise: float) -> Tensor:
    """Take a published table of sigmas, interpolated log-linearly to other lengths; the last is 0.

    Args:
        kind: a key of ALIGN_YOUR_STEPS.
        denoise: below 1 takes only the last round(steps * denoise) steps.
    """
    return tail_of_table(torch.tensor(ALIGN_YOUR_STEPS[kind], dtype=torch.float64), steps, denoise)


def tail_of_table(table: Tensor, steps: int, denoise: float) -> Tensor:
    """Take the last round(steps * denoise) steps of a table of sigmas; the last is 0.

    Args:
        table: float64, interpolated log-linearly if it has another number of steps.
    """
    if steps + 1 != len(table):
        table = _interpolate_log_linearly(table, steps + 1)
    if denoise <= 0:
        return torch.empty(0)
    sigmas = table[-(round(steps * denoise) + 1) :].float()
    sigmas[-1] = 0
    return sigmas


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Split sigmas at a step; both parts hold the sigma in between."""
    return sigmas[: step + 1], sigmas[step:]


def split_denoise(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """Split sigmas so that the second part has a share `denoise` of the steps.

    If it has 0 steps, the first part is empty and the second is the last sigma, as in ComfyUI.
    """
    steps = max(len(sigmas) - 1, 0)
    low = round(steps * denoise)
    high, rest = split(sigmas, steps - low)
    return (high if low else sigmas[:0]), rest


def flip(sigmas: Tensor) -> Tensor:
    """Return rising sigmas, to run a model backwards; a first one of 0 becomes FLIPPED_START."""
    flipped = sigmas.flip(0).clone()
    if len(flipped) and flipped[0] == 0:
        flipped[0] = FLIPPED_START
    return flipped


def extend(sigmas: Tensor, parts: int, start: float, end: float, spacing: str) -> Tensor:
    """Cut the steps that start between two sigmas into parts.

    Args:
        parts: number of steps that replace one.
        start, end: the highest and the lowest sigma at which a step is cut.
        spacing: `linear`; `cosine` makes the first parts of a step longer, `sine` the last.
    """
    share = torch.linspace(0, 1, parts + 1)[1:-1]
    if spacing == "cosine":
        share = torch.sin(share * torch.pi / 2)
    elif spacing == "sine":
        share = 1 - torch.cos(share * torch.pi / 2)
    pieces = list[Tensor]()
    for sigma, sigma_next in itertools.pairwise(sigmas):
        pieces.append(sigma[None])
        if end <= float(sigma) <= start:
            pieces.append(sigma + share * (sigma_next - sigma))
    return torch.cat([*pieces, sigmas[-1:]])


def replace_first(sigmas: Tensor, first: float) -> Tensor:
    """Return the sigmas with another first one."""
    changed = sigmas.clone()
    changed[:1] = first
    return changed


def append_zero(sigmas: Tensor) -> Tensor:
    """Return float32 sigmas with a 0 at the end."""
    return torch.cat([sigmas.float(), torch.zeros(1)])


def _interpolate_log_linearly(table: Tensor, count: int) -> Tensor:
    positions = torch.linspace(0, len(table) - 1, count, dtype=torch.float64)
    low = positions.floor().long().clamp(max=len(table) - 2)
    share = positions - low
    logs = table.log()
    return ((1 - share) * logs[low] + share * logs[low + 1]).exp()
