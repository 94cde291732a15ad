"""Sampling a latent: noise in, a sampler over a guided model, a latent out.

The arithmetic is ComfyUI's KSampler and KSamplerAdvanced: denoise keeps the tail of a stretched
schedule, noise comes from a CPU generator, a mask is blended at every model call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..conditioning.conditioning import Conditioning
from ..errors import SamplingError
from ..latents.latents import Latent, SamplePass
from ..networks.handles import Model
from ..networks.patch import StepState
from ..networks.residency import retry_when_out_of_memory
from ..samplers.load import fit_sigmas, load_sampler
from ..samplers.step import Denoiser, PairDenoiser, StepNoise, StepReporter, Steps
from ..samplers.table import SAMPLER_TABLE, SamplerChoice
from ..schedules.schedules import calculate_sigmas
from .compatibility import CompatibilityMode, compatibility_mode
from .differential import DifferentialMask, MaskAt
from .guidance import Guidance, GuidedDenoiser
from .hooks import SILENT, Hooks
from .noise import (
    NoiseChoice,
    brownian_noise,
    draws_after,
    noise_like,
    start_noise,
    step_noise,
)


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
        mode: which ComfyUI is followed; see `diffusion.sampling.compatibility`.
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
    mode: CompatibilityMode = field(default_factory=compatibility_mode)


def plan_sigmas(model: Model, plan: SamplePlan) -> Tensor:
    """The levels that a plan goes through; none mean that nothing is run."""
    sigmas = calculate_sigmas(
        model.sampling,
        plan.scheduler,
        plan.steps,
        plan.denoise,
        discard_penultimate=SAMPLER_TABLE[plan.sampler].discards_penultimate,
    )
    if plan.end < len(sigmas) - 1:
        sigmas = sigmas[: plan.end + 1].clone()
        if not plan.leftover_noise:
            sigmas[-1] = 0
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
        on the CPU in unscaled VAE space.

    Raises:
        SamplingError: the model gave NaN or infinity.
    """
    guidance = Guidance(model, positive, negative, plan.cfg)
    run = SamplingRun(
        plan_sigmas(model, plan),
        SamplerChoice(plan.sampler),
        NoiseChoice(plan.seed, plan.add_noise),
        plan.scheduler,
        plan.mode,
    )
    return sample_custom(guidance, latent, run, hooks).output


@dataclass(frozen=True)
class SamplingRun:
    """Noise levels, and how they are gone through.

    Attributes:
        sigmas: falling levels; one alone only adds its noise, none do nothing.
        scheduler: what the levels are called in reports.
        mode: which ComfyUI is followed; see `diffusion.sampling.compatibility`.
    """

    sigmas: Tensor
    sampler: SamplerChoice
    noise: NoiseChoice
    scheduler: str = "custom"
    mode: CompatibilityMode = field(default_factory=compatibility_mode)


class Sampled(NamedTuple):
    """What sampling gives.

    Attributes:
        output: the latent at the last level.
        denoised: the last D, which is the output where the last level is 0.
    """

    output: Latent
    denoised: Latent


def sample_custom(
    guidance: Guidance, latent: Latent, run: SamplingRun, hooks: Hooks = SILENT
) -> Sampled:
    """Sample from a latent through given levels.

    Returns:
        Latents like the given one: same batch, mask, batch index and family; samples float32
        on the CPU in unscaled VAE space; one pass more.

    Raises:
        SamplingError: the model gave NaN or infinity, or the sampler changes the size of a
            latent with a noise mask.
    """
    if not len(run.sigmas):
        return Sampled(latent, latent)
    if SAMPLER_TABLE[run.sampler.name].resizes and latent.noise_mask is not None:
        raise SamplingError(
            "a sampler that changes the latent's size wants one without a noise mask; "
            "take SetLatentNoiseMask away, or upscale after sampling"
        )
    counter, start = _Counter(hooks), time.perf_counter()
    hooks = replace(hooks, on_call=counter)
    model, name = guidance.model, run.sampler.name
    seed, shape = run.noise.seed, latent.samples.shape

    def sample_with(one_by_one: bool) -> list[Tensor]:
        draws = draws_after(shape, seed, latent.batch_index)
        state = StepState(model.sampling, generator=draws)
        with model.weights.use(model.patches, state):
            denoiser = GuidedDenoiser(
                guidance,
                hooks,
                source=latent,
                needs_unguided=SAMPLER_TABLE[name].needs_unguided,
                state=state,
                one_by_one=one_by_one,
                missing_is_zero=run.mode == "0.3.64",
            )
            inside = _Run(denoiser, latent, run).through(hooks)
        return [each.clone() for each in inside]

    found = retry_when_out_of_memory(lambda: sample_with(False), lambda: sample_with(True))
    if not all(bool(torch.isfinite(each).all()) for each in found):
        raise SamplingError(
            f"{name} gave NaN or infinity; the model may overflow at this precision"
        )
    done = SamplePass(
        name,
        run.scheduler,
        len(run.sigmas) - 1,
        float(run.sigmas[0]),
        counter.calls,
        time.perf_counter() - start,
    )
    passes = (*latent.passes, done)
    return Sampled(*(replace(latent, samples=each, passes=passes) for each in found))


def add_latent_noise(model: Model, latent: Latent, noise: NoiseChoice, sigmas: Tensor) -> Latent:
    """A latent with the noise between the ends of levels in it; with none, as it is.

    One level adds all of its noise.
    """
    if not len(sigmas):
        return latent
    level = (sigmas[0] - sigmas[-1]).abs() if len(sigmas) > 1 else sigmas[0]
    samples = latent.samples.float()
    shape = tuple(samples.shape)
    drawn = torch.zeros(shape)
    if noise.add:
        drawn = start_noise(shape, noise.seed, latent.batch_index)
    known = model.family.to_model(samples)
    noised = model.sampling.add_noise(known, drawn, level, max_denoise=False)
    return replace(latent, samples=model.family.to_vae(noised))


class _Counter:
    """Counts model calls on their way to the caller's hook."""

    def __init__(self, hooks: Hooks) -> None:
        self.calls, self.then = 0, hooks.on_call

    def __call__(self) -> None:
        self.calls += 1
        self.then()


class _Run:
    """One latent on its way through the levels of a schedule."""

    def __init__(self, denoiser: GuidedDenoiser, latent: Latent, run: SamplingRun) -> None:
        self.denoiser, self.model, self.mask = denoiser, denoiser.model, latent.noise_mask
        self.run, self.sampler = run, SAMPLER_TABLE[run.sampler.name]
        device = self.model.weights.device
        samples = latent.samples.float().to(device)
        self.known = self.model.family.to_model(samples) if bool(samples.any()) else samples
        shape, noise = tuple(samples.shape), run.noise
        drawn = start_noise(shape, noise.seed, latent.batch_index) if noise.add else None
        self.first = (torch.zeros(shape) if drawn is None else drawn).to(device)
        # On the CPU, where asking for a level's value waits for nothing.
        self.sigmas = run.sigmas.cpu()

    def through(self, hooks: Hooks) -> tuple[Tensor, Tensor]:
        """The latent at the last level, and the last D, in unscaled VAE space on the CPU."""
        sampling, sigmas = self.model.sampling, self.sigmas
        x = sampling.add_noise(
            self.known, self.first, sigmas[0], sampling.is_max_denoise(sigmas[0])
        )
        total, last = len(sigmas) - 1, [x]
        if not total:
            noised = self._off(sampling.undo_noise_scaling(x, sigmas[0]))
            return noised, noised

        def on_step(index: int, denoised: Tensor) -> None:
            last[0] = denoised
            hooks.on_step(index + 1, total, denoised)

        options: dict[str, Any] = dict(self.run.sampler.options)
        if self.sampler.takes_tau:
            options["tau"] = _noise_between(self.model, **_taken(options, TAU))
        if self.sampler.resizes:
            options["noise_like"] = noise_like(x, self.run.noise.seed, self.run.mode)
        if self.sampler.takes_single_step and self.run.mode == "0.3.64":
            options["single_step"] = False
        denoise = self._denoise()
        if self.sampler.noise != "none":
            options["noise"] = self._step_noise(x)
        function = load_sampler(self.sampler, sampling.prediction)
        sigmas = fit_sigmas(self.sampler, sampling, sigmas)
        reporter = StepReporter(on_step)
        if self.sampler.needs_unguided:
            x = function(reporter.watch(denoise), x, Steps(sigmas, reporter), **options)
        else:
            call = reporter.watch(_guided_only(denoise))
            x = function(call, x, Steps(sigmas, reporter), **options)
        return self._off(sampling.undo_noise_scaling(x, sigmas[-1])), self._off(last[0])

    def _off(self, x: Tensor) -> Tensor:
        """Scaled latents as they travel on edges."""
        return self.model.family.to_vae(x).float().cpu()

    def _denoise(self) -> PairDenoiser:
        """The model call, which a noise mask keeps inside."""
        if self.mask is None:
            return self.denoiser.pair
        mask_at = _mask_at(self.model, latent_mask(self.mask, self.known), self.sigmas)
        below = self.first
        if self.sampler.mask_noise == "fresh":
            fresh = start_noise(tuple(below.shape), (self.run.noise.seed + 1) % 2**64)
            below = fresh.to(below.device)
        sampling = self.model.sampling

        def outside(sigma: Tensor) -> Tensor:
            return sampling.add_noise(self.known, below, sigma, max_denoise=False)

        return keep_outside(self.denoiser.pair, mask_at, self.known, outside)

    def _step_noise(self, x: Tensor) -> StepNoise:
        kind, seed = self.sampler.noise, self.run.noise.seed
        if kind == "step":
            draw = step_noise(x, seed, self.run.mode)
        else:
            draw = brownian_noise(x, self.sigmas, seed, cpu=kind == "brownian")
        scale = self.run.sampler.noise_scale
        if scale == 1.0:
            return draw
        return lambda sigma, sigma_next: draw(sigma, sigma_next) * scale


def keep_outside(
    guide: PairDenoiser, mask_at: MaskAt, known: Tensor, outside: Callable[[Tensor], Tensor]
) -> PairDenoiser:
    """A model call that changes only what the mask of its level covers.

    Before the call what lies outside is the known latent with this level's noise (`outside`),
    after it the known latent itself; a grey mask mixes. The unguided prediction stays as it is.
    """

    def denoise(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        mask = mask_at(sigma)
        x = x * mask + outside(sigma) * (1 - mask)
        denoised, unguided = guide(x, sigma)
        return denoised * mask + known * (1 - mask), unguided

    return denoise


def _mask_at(model: Model, mask: Tensor, sigmas: Tensor) -> MaskAt:
    """The same mask at every level, unless a patch of the model changes it."""
    for patch in model.patches:
        if isinstance(patch, DifferentialMask):
            return patch.schedule(mask, model.sampling, sigmas)
    return lambda _sigma: mask


def _guided_only(denoise: PairDenoiser) -> Denoiser:
    def first(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma)[0]

    return first


TAU = ("tau_high", "tau_low", "tau_eta")


def _taken(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names if name in options}


def _noise_between(
    model: Model,
    tau_high: float | None = None,
    tau_low: float | None = None,
    tau_eta: float = 1.0,
) -> Callable[[Tensor], float]:
    """SA-Solver's noise: that of the SDE times `tau_eta` between two levels, else none.

    Without levels they are those at 20 and 80 percent of the way.
    """
    high = model.sampling.percent_to_sigma(0.2) if tau_high is None else tau_high
    low = model.sampling.percent_to_sigma(0.8) if tau_low is None else tau_low
    return lambda sigma: tau_eta if low <= float(sigma) <= high else 0.0


def latent_mask(mask: Tensor, samples: Tensor) -> Tensor:
    """A B×H×W mask as B×1×h×w over these latents: bilinear, repeated over the batch."""
    grid = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    grid = interpolate(grid, size=samples.shape[-2:], mode="bilinear")
    repeats = -(-len(samples) // len(grid))
    return grid.repeat(repeats, 1, 1, 1)[: len(samples)].to(samples.device)
