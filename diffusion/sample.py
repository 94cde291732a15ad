"""Sampling a latent: noise in, a sampler over a guided model, a latent out.

The arithmetic is ComfyUI's KSampler and KSamplerAdvanced: denoise keeps the tail of a stretched
schedule, noise comes from a CPU generator, a mask is blended at every model call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .conditioning import Conditioning
from .differential import DifferentialMask, MaskAt
from .errors import SamplingError
from .guidance import Guide
from .handles import Model
from .hooks import SILENT, Hooks
from .latents import Latent, SamplePass
from .noise import SeedRule, brownian_noise, seed_rule, start_noise, step_noise
from .samplers.step import Denoise, Noise, PairDenoise
from .samplers.table import SAMPLER_TABLE, Sampler
from .schedules import calculate_sigmas


@dataclass(frozen=True)
class SamplePlan:
    """How to sample.

    Attributes:
        seed: 0 to 2^64 - 1, for the first noise and that of the steps.
        steps: model steps; with `denoise` below 1 the schedule is stretched, not the count.
        denoise: share of the schedule that is run, from its end; 0 leaves the latent as it is.
        start, end: first and last step of the schedule that are run.
        add_noise: False starts from the latent itself.
        leftover_noise: an early `end` leaves the noise of its level in.
        seed_rule: how step noise is seeded; see `diffusion.noise.step_noise`.
    """

    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float = 1.0
    start: int = 0
    end: int = 10_000
    add_noise: bool = True
    leftover_noise: bool = False
    seed_rule: SeedRule = field(default_factory=seed_rule)


def plan_sigmas(model: Model, plan: SamplePlan) -> Tensor:
    """The levels that a plan goes through; fewer than two mean that nothing is run."""
    sigmas = calculate_sigmas(
        model.sampling, plan.scheduler, plan.steps, plan.sampler, plan.denoise
    )
    if plan.end < len(sigmas) - 1:
        sigmas = sigmas[: plan.end + 1].clone()
        if not plan.leftover_noise:
            sigmas[-1] = 0
    if plan.start == 0:
        return sigmas
    return sigmas[plan.start :] if plan.start < len(sigmas) - 1 else sigmas[:0]


def sample(
    model: Model,
    latent: Latent,
    positive: Conditioning,
    negative: Conditioning,
    plan: SamplePlan,
    hooks: Hooks = SILENT,
) -> Latent:
    """Sample from a latent.

    Returns:
        A latent like the given one: same batch, mask, batch index and family; samples float32
        on the CPU in unscaled VAE space; one pass more.

    Raises:
        SamplingError: the model gave NaN or infinity.
    """
    sigmas = plan_sigmas(model, plan)
    if len(sigmas) < 2:
        return latent
    counter, start = _Counter(hooks), time.perf_counter()
    hooks = replace(hooks, on_call=counter)
    with model.weights.computing(model.patches):
        both = SAMPLER_TABLE[plan.sampler].pair
        guide = Guide(model, positive, negative, plan.cfg, hooks, both)
        guide.source = latent
        x = _run(model, latent, guide, sigmas, plan, hooks)
    samples = x.clone()
    if not bool(torch.isfinite(samples).all()):
        raise SamplingError(
            f"{plan.sampler} gave NaN or infinity; the model may overflow at this precision"
        )
    done = SamplePass(
        plan.sampler,
        plan.scheduler,
        len(sigmas) - 1,
        float(sigmas[0]),
        counter.calls,
        time.perf_counter() - start,
    )
    return replace(latent, samples=samples, passes=(*latent.passes, done))


class _Counter:
    """Counts model calls on their way to the caller's hook."""

    def __init__(self, hooks: Hooks) -> None:
        self.calls, self.then = 0, hooks.on_call

    def __call__(self) -> None:
        self.calls += 1
        self.then()


def _run(
    model: Model, latent: Latent, guide: Guide, sigmas: Tensor, plan: SamplePlan, hooks: Hooks
) -> Tensor:
    device, scale = model.weights.device, model.family.latent_scale
    samples = latent.samples.float().to(device)
    known = samples * scale if bool(samples.any()) else samples
    shape = tuple(samples.shape)
    drawn = start_noise(shape, plan.seed, latent.batch_index) if plan.add_noise else None
    first = torch.zeros(shape) if drawn is None else drawn
    first, sigmas = first.to(device), sigmas.to(device)
    x = model.sampling.noised(known, first, sigmas[0], model.sampling.is_full(sigmas[0]))
    sampler = SAMPLER_TABLE[plan.sampler]
    denoise: PairDenoise = guide.pair
    if latent.noise_mask is not None:
        mask_at = _mask_at(model, latent_mask(latent.noise_mask, samples), sigmas)
        fresh = sampler.mask_noise == "fresh"
        below = _fresh_noise(shape, plan.seed).to(device) if fresh else first
        denoise = keep_outside(denoise, mask_at, known, below)
    total = len(sigmas) - 1

    def on_step(index: int, denoised: Tensor) -> None:
        hooks.on_step(index + 1, total, denoised)

    options: dict[str, Any] = {"tau": _middle_noise(model)} if sampler.tau else {}
    call = denoise if sampler.pair else _guided_only(denoise)
    noise = _noise(sampler, x, sigmas, plan)
    x = sampler.function(call, x, sigmas, noise=noise, on_step=on_step, **options)
    return (x / scale).float().cpu()


def keep_outside(guide: PairDenoise, mask_at: MaskAt, known: Tensor, noise: Tensor) -> PairDenoise:
    """A model call that changes only what the mask of its level covers.

    Before the call what lies outside is the known latent at this noise level, after it the
    known latent itself; a grey mask mixes. The unguided prediction stays as it is.
    """

    def denoise(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        mask = mask_at(sigma)
        x = x * mask + (known + noise * sigma) * (1 - mask)
        denoised, unguided = guide(x, sigma)
        return denoised * mask + known * (1 - mask), unguided

    return denoise


def _mask_at(model: Model, mask: Tensor, sigmas: Tensor) -> MaskAt:
    """The same mask at every level, unless a patch of the model changes it."""
    for patch in model.patches:
        if isinstance(patch, DifferentialMask):
            return patch.schedule(mask, model.sampling, sigmas)
    return lambda _sigma: mask


def _guided_only(denoise: PairDenoise) -> Denoise:
    def first(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma)[0]

    return first


def _middle_noise(model: Model) -> Callable[[Tensor], float]:
    """SA-Solver's noise: all of the SDE's between 20 and 80 percent of the way, else none."""
    high, low = (model.sampling.percent_to_sigma(percent) for percent in (0.2, 0.8))
    return lambda sigma: 1.0 if low <= float(sigma) <= high else 0.0


def latent_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A B×H×W mask as B×1×h×w over these latents: bilinear, repeated over the batch."""
    grid = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    grid = interpolate(grid, size=samples.shape[-2:], mode="bilinear")
    repeats = -(-len(samples) // len(grid))
    return grid.repeat(repeats, 1, 1, 1)[: len(samples)].to(samples.device)


def _fresh_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return start_noise(shape, (seed + 1) % 2**64)


def _noise(sampler: Sampler, x: Tensor, sigmas: Tensor, plan: SamplePlan) -> Noise:
    if sampler.noise == "step":
        return step_noise(x, plan.seed, plan.seed_rule)
    if sampler.noise == "none":
        return _no_noise
    return brownian_noise(x, sigmas, plan.seed, cpu=sampler.noise == "brownian")


def _no_noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
    raise AssertionError("a sampler that is listed as drawing no noise drew some")
