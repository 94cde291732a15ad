"""Noise schedules: functions of a model's table and n steps to n+1 sigmas, the last one 0.

Some schedules give another number of sigmas. `calculate_sigmas` finds a schedule by its name; names
and arithmetic are those of ComfyUI, whose workflows use them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import ScheduleError
from . import sigmas as formulas
from .model_sampling import ModelSampling
from .names import SCHEDULERS
from .sigmas import append_zero

Schedule = Callable[[ModelSampling, int], Tensor]


def normal(sampling: ModelSampling, steps: int) -> Tensor:
    """Space the timesteps evenly from the last to the first."""
    return _space_evenly(sampling, steps, includes_first=True)


def sgm_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Space the timesteps evenly from the last towards the first, which is left out."""
    return _space_evenly(sampling, steps, includes_first=False)


def simple(sampling: ModelSampling, steps: int) -> Tensor:
    """Take every (T/n)-th sigma of the table, from its end."""
    stride = len(sampling.sigmas) / steps
    picked = [sampling.sigmas[-(1 + int(index * stride))] for index in range(steps)]
    return append_zero(torch.stack(picked))


def ddim_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Take every (T//n)-th sigma from the second on, which may be more than n. Source: DDIM."""
    sigmas, zero = sampling.sigmas, [torch.tensor(0.0)]
    if math.isclose(float(sigmas[1]), 0, abs_tol=1e-5):
        steps, zero = steps + 1, []
    stride = max(len(sigmas) // steps, 1)
    picked = [*zero, *sigmas[1::stride]]
    return torch.stack(picked[::-1])


def karras(sampling: ModelSampling, steps: int, rho: float = 7.0) -> Tensor:
    """Space the sigmas evenly in sigma^(1/rho). Source: arXiv 2206.00364, equation 5."""
    return formulas.polynomial(steps, sampling.sigma_min, sampling.sigma_max, rho)


def exponential(sampling: ModelSampling, steps: int) -> Tensor:
    """Space the sigmas evenly in log sigma."""
    return formulas.exponential(steps, sampling.sigma_min, sampling.sigma_max)


def beta(sampling: ModelSampling, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Take the timesteps at quantiles of a beta distribution; equal neighbours count once.

    Source: arXiv 2407.12173.
    """
    from scipy.stats import beta as distribution

    shares = 1 - np.linspace(0, 1, steps, endpoint=False)
    indices = np.rint(distribution.ppf(shares, alpha, beta) * (len(sampling.sigmas) - 1))
    unique = [int(index) for index in dict.fromkeys(indices.tolist())]
    return append_zero(sampling.sigmas[unique])


def linear_quadratic(sampling: ModelSampling, steps: int, threshold: float = 0.025) -> Tensor:
    """Fall linearly in the first half, to 1 - threshold of the highest sigma, then quadratically.

    Source: the schedule of Movie Gen (arXiv 2410.13720).
    """
    if steps == 1:
        return torch.tensor([sampling.sigma_max, 0.0])
    half = steps // 2
    linear = [index * threshold / half for index in range(half)]
    rest = steps - half
    excess = half - threshold * steps
    square = excess / (half * rest**2)
    slope = threshold / half - 2 * excess / rest**2
    start = square * half**2
    curve = [square * index**2 + slope * index + start for index in range(half, steps)]
    shares = torch.tensor([1.0 - share for share in (*linear, *curve, 1.0)])
    return shares * sampling.sigma_max


def kl_optimal(sampling: ModelSampling, steps: int) -> Tensor:
    """Space the sigmas evenly in their arc tangent.

    One step starts at the highest sigma, for which the formula has no value.
    Source: Align Your Steps (arXiv 2404.14507), theorem 3.1.
    """
    if steps == 1:
        return torch.tensor([sampling.sigma_max, 0.0])
    share = torch.arange(steps, dtype=torch.float32) / (steps - 1)
    low, high = math.atan(sampling.sigma_min), math.atan(sampling.sigma_max)
    return append_zero((share * low + (1 - share) * high).tan())


SCHEDULES: dict[str, Schedule] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": karras,
    "exponential": exponential,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
}


def calculate_sigmas(
    sampling: ModelSampling,
    scheduler: str,
    steps: int,
    denoise: float = 1.0,
    *,
    discard_penultimate: bool = False,
) -> Tensor:
    """Return the sigmas that a run goes through, the last one 0.

    Args:
        denoise: share of the schedule to run: the last `steps` of int(steps / denoise) steps.
            0 gives no sigmas: the latent stays unchanged.
        discard_penultimate: leave out the last sigma above 0, as some samplers need it.

    Raises:
        ScheduleError: the schedule is unknown.
    """
    if scheduler not in SCHEDULES:
        raise ScheduleError(
            f"scheduler: expected one of {', '.join(SCHEDULERS)}, got {scheduler!r}"
        )
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    sigmas = SCHEDULES[scheduler](sampling, total + discard_penultimate)
    if discard_penultimate:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return sigmas if denoise > 0.9999 else sigmas[-(steps + 1) :]


def _space_evenly(sampling: ModelSampling, steps: int, includes_first: bool) -> Tensor:
    start = sampling.timestep(sampling.sigmas[-1:])[0]
    end = sampling.timestep(sampling.sigmas[:1])[0]
    ends_at_zero = math.isclose(float(sampling.sigma(end)), 0, abs_tol=1e-5)
    if not includes_first:
        timesteps = torch.linspace(float(start), float(end), steps + 1)[:-1]
    else:
        timesteps = torch.linspace(float(start), float(end), steps + ends_at_zero)
    sigmas = torch.stack([sampling.sigma(timestep) for timestep in timesteps])
    return sigmas if includes_first and ends_at_zero else append_zero(sigmas)
