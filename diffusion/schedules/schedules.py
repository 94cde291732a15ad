"""Sigma schedules: n steps -> n+1 noise levels (or as many as the rule gives), the last one 0.

Each is a function of the model's table and the number of steps; `calculate_sigmas` is what a
sampler node uses. Names and arithmetic are ComfyUI's, whose files name them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import ScheduleError
from . import sigmas as levels
from .model_sampling import ModelSampling
from .names import SCHEDULERS
from .sigmas import ended

Schedule = Callable[[ModelSampling, int], Tensor]


def normal(sampling: ModelSampling, steps: int) -> Tensor:
    """Timesteps evenly from the last to the first."""
    return _even(sampling, steps, floor=True)


def sgm_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Timesteps evenly from the last towards the first, which is left out."""
    return _even(sampling, steps, floor=False)


def simple(sampling: ModelSampling, steps: int) -> Tensor:
    """Every (T/n)-th level of the table, from its end."""
    stride = len(sampling.sigmas) / steps
    picked = [sampling.sigmas[-(1 + int(index * stride))] for index in range(steps)]
    return ended(torch.stack(picked))


def ddim_uniform(sampling: ModelSampling, steps: int) -> Tensor:
    """Every (T//n)-th level from the second on; may hold more than n levels. Source: DDIM."""
    sigmas, zero = sampling.sigmas, [torch.tensor(0.0)]
    if math.isclose(float(sigmas[1]), 0, abs_tol=1e-5):
        steps, zero = steps + 1, []
    stride = max(len(sigmas) // steps, 1)
    picked = [*zero, *sigmas[1::stride]]
    return torch.stack(picked[::-1])


def karras(sampling: ModelSampling, steps: int, rho: float = 7.0) -> Tensor:
    """Even in sigma^(1/rho). Source: arXiv 2206.00364, equation 5."""
    return levels.polynomial(steps, sampling.sigma_min, sampling.sigma_max, rho)


def exponential(sampling: ModelSampling, steps: int) -> Tensor:
    """Even in log sigma."""
    return levels.exponential(steps, sampling.sigma_min, sampling.sigma_max)


def beta(sampling: ModelSampling, steps: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Timesteps at quantiles of a beta distribution; equal neighbours count once.

    Source: arXiv 2407.12173.
    """
    from scipy.stats import beta as distribution

    shares = 1 - np.linspace(0, 1, steps, endpoint=False)
    indices = np.rint(distribution.ppf(shares, alpha, beta) * (len(sampling.sigmas) - 1))
    kept = [int(index) for index in dict.fromkeys(indices.tolist())]
    return ended(sampling.sigmas[kept])


def linear_quadratic(sampling: ModelSampling, steps: int, threshold: float = 0.025) -> Tensor:
    """A linear first half up to `threshold` of the way, then a quadratic one.

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
    """Even in the arc tangent of sigma. Source: Align Your Steps (arXiv 2404.14507), theorem 3.1.

    One step starts at the highest level, where the formula itself has no value.
    """
    if steps == 1:
        return torch.tensor([sampling.sigma_max, 0.0])
    share = torch.arange(steps, dtype=torch.float32) / (steps - 1)
    low, high = math.atan(sampling.sigma_min), math.atan(sampling.sigma_max)
    return ended((share * low + (1 - share) * high).tan())


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
        denoise: share of the schedule that is run. The schedule is stretched to
            int(steps / denoise) steps and its last `steps` are kept, so that the number of model
            calls stays. 0 gives no levels at all: the latent stays as it is.

    Raises:
        ScheduleError: there is no such schedule, or it gives none for so many steps.
    """
    if scheduler not in SCHEDULES:
        raise ScheduleError(f"schedule {scheduler!r} is unknown; known: {', '.join(SCHEDULERS)}")
    if denoise <= 0:
        return torch.empty(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    sigmas = SCHEDULES[scheduler](sampling, total + discard_penultimate)
    if discard_penultimate:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return sigmas if denoise > 0.9999 else sigmas[-(steps + 1) :]


def _even(sampling: ModelSampling, steps: int, floor: bool) -> Tensor:
    start = sampling.timestep(sampling.sigmas[-1:])[0]
    end = sampling.timestep(sampling.sigmas[:1])[0]
    ends_at_zero = math.isclose(float(sampling.sigma(end)), 0, abs_tol=1e-5)
    if not floor:
        timesteps = torch.linspace(float(start), float(end), steps + 1)[:-1]
    else:
        timesteps = torch.linspace(float(start), float(end), steps + ends_at_zero)
    found = torch.stack([sampling.sigma(timestep) for timestep in timesteps])
    return found if floor and ends_at_zero else ended(found)
