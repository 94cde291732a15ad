"""Sampling a latent: noise in, a sampler over a guided model, a latent out.

As in ComfyUI's KSampler and KSamplerAdvanced, denoise takes the end of a stretched schedule,
noise comes from a CPU generator, and a mask is blended at every model call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..compatibility import CompatibilityMode, compatibility_mode
from ..conditioning.conditioning import Conditioning
from ..errors import SamplingError
from ..latents.latents import Latent, SamplePass, fit_space
from ..networks.handles import Model
from ..networks.patch import StepState
from ..networks.residency import retry_when_out_of_memory
from ..samplers.load import fit_sigmas, load_sampler
from ..samplers.step import Denoiser, PairDenoiser, SamplingSteps, StepNoise, StepReporter
from ..samplers.table import SAMPLER_TABLE, SamplerChoice
from ..schedules.schedules import calculate_sigmas
from .guidance import Guidance, GuidedDenoiser
from .hooks import SILENT, Hooks
from .masking import fit_mask, limit_to_mask, schedule_mask
from .noise import (
    NoiseChoice,
    batch_noise,
    batch_step_noise,
    brownian_noise,
    generator_after_start,
    noise_like,
    start_noise,
)


@dataclass(frozen=True)
class SamplePlan:
    """The settings of KSampler and KSamplerAdvanced.

    Attributes:
        seed: 0 to 2^64 - 1, for the initial noise and that of the steps.
        steps: model steps; `denoise` below 1 does not change their number.
        denoise: share of the schedule to run, from its end; 0 leaves the latent unchanged.
        start, end: first step of the schedule to run, and the step to stop before.
        add_noise: False starts from the latent itself.
        leftover_noise: keep the noise that is left at an early `end`.
        mode: ComfyUI version to follow; see `diffusion.compatibility`.
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
    """Return the sigmas of a plan; none if there is nothing to run."""
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
        A latent with the batch, mask, batch index and family of the given one; samples float32
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
    """The sigmas, the sampler and the noise of a run.

    Attributes:
        sigmas: falling; a single one only adds its noise, none change nothing.
        scheduler: name of the sigmas in reports.
        mode: ComfyUI version to follow; see `diffusion.compatibility`.
    """

    sigmas: Tensor
    sampler: SamplerChoice
    noise: NoiseChoice
    scheduler: str = "custom"
    mode: CompatibilityMode = field(default_factory=compatibility_mode)


class SamplingResult(NamedTuple):
    """The results of a run.

    Attributes:
        output: the latent at the last sigma.
        denoised: the last D, which is the output if the last sigma is 0.
    """

    output: Latent
    denoised: Latent


def sample_custom(
    guidance: Guidance, latent: Latent, run: SamplingRun, hooks: Hooks = SILENT
) -> SamplingResult:
    """Sample from a latent through given sigmas.

    Returns:
        Latents with the batch, mask, batch index and family of the given one, and one pass more;
        samples float32 on the CPU in unscaled VAE space.

    Raises:
        SamplingError: the model gave NaN or infinity, or the sampler changes the size of a
            latent with a noise mask.
        UnsuitableValueError: the latent is of another space than the model, and not empty.
    """
    latent = fit_space(latent, guidance.model.family.space)
    if not len(run.sigmas):
        return SamplingResult(latent, latent)
    spec = SAMPLER_TABLE[run.sampler.name]
    if spec.resizes and latent.noise_mask is not None:
        raise SamplingError(
            f"{run.sampler.name} resizes the latent: expected a latent without a noise mask; "
            "remove SetLatentNoiseMask, or upscale after sampling"
        )
    model, counter, start = guidance.model, _CallCounter(hooks), time.perf_counter()
    weights, captured_before = model.weights, model.weights.captured_calls
    counting = replace(hooks, on_call=counter)

    def sample_with(one_by_one: bool) -> list[Tensor]:
        generator = generator_after_start(latent.samples.shape, run.noise.seed, latent.batch_index)
        state = StepState(model.sampling, generator=generator)
        with weights.use(model.patches, state):
            hooks.note("sigmas", run.sigmas.tolist())
            hooks.note("dtype", str(weights.dtype).removeprefix("torch."))
            hooks.note("device", weights.device.type)
            denoiser = GuidedDenoiser(
                guidance,
                counting,
                source=latent,
                needs_unguided=spec.needs_unguided,
                state=state,
                one_by_one=one_by_one,
                missing_is_zero=run.mode == "0.3.64",
            )
            results = _LatentRun(denoiser, latent, run).sample(counting)
            denoiser.check()
        # Tensors made in inference mode take no part in other arithmetic; their clones do.
        return [samples.clone() for samples in results]

    results = retry_when_out_of_memory(lambda: sample_with(False), lambda: sample_with(True))
    if not all(bool(torch.isfinite(samples).all()) for samples in results):
        raise SamplingError(
            f"{run.sampler.name} gave NaN or infinity; the model may overflow at this precision"
        )
    done = SamplePass(
        run.sampler.name,
        run.scheduler,
        len(run.sigmas) - 1,
        float(run.sigmas[0]),
        counter.calls,
        time.perf_counter() - start,
        weights.captured_calls - captured_before,
        weights.eager_reason if weights.device.type == "cuda" else None,
    )
    passes = (*latent.passes, done)
    latent = replace(latent, passes=passes, cell_px=None)
    return SamplingResult(*(replace(latent, samples=samples) for samples in results))


def add_latent_noise(model: Model, latent: Latent, noise: NoiseChoice, sigmas: Tensor) -> Latent:
    """Return a latent with the noise between the first and the last sigma.

    A single sigma adds all of its noise; without sigmas the latent stays unchanged.
    """
    latent = fit_space(latent, model.family.space)
    if not len(sigmas):
        return latent
    sigma = (sigmas[0] - sigmas[-1]).abs() if len(sigmas) > 1 else sigmas[0]
    samples = latent.samples.float()
    drawn = _initial_noise(samples, noise, latent)
    noisy = model.sampling.add_noise(
        model.family.to_model(samples), drawn, sigma, max_denoise=False
    )
    return replace(latent, samples=model.family.to_vae(noisy))


def _initial_noise(samples: Tensor, noise: NoiseChoice, latent: Latent) -> Tensor:
    shape = tuple(samples.shape)
    return batch_noise(shape, noise, latent.batch_index) if noise.add else torch.zeros(shape)


class _CallCounter:
    """Counts model calls before it calls the caller's hook."""

    def __init__(self, hooks: Hooks) -> None:
        self.calls, self._on_call = 0, hooks.on_call

    def __call__(self) -> None:
        self.calls += 1
        self._on_call()


class _LatentRun:
    """The run of one latent through the sigmas, on the model's device."""

    def __init__(self, denoiser: GuidedDenoiser, latent: Latent, run: SamplingRun) -> None:
        self._denoiser, self._model, self._mask = denoiser, denoiser.model, latent.noise_mask
        self._run, self._spec = run, SAMPLER_TABLE[run.sampler.name]
        device = self._model.weights.device
        samples = latent.samples.float().to(device)
        self._latent = self._model.family.to_model(samples) if bool(samples.any()) else samples
        self._noise = _initial_noise(samples, run.noise, latent).to(device)
        # On the CPU, where reading the value of a sigma does not wait for the device.
        self._sigmas = run.sigmas.cpu()

    def sample(self, hooks: Hooks) -> tuple[Tensor, Tensor]:
        """Return the latent at the last sigma and the last D, in unscaled VAE space on the CPU."""
        sampling, sigmas, spec = self._model.sampling, self._sigmas, self._spec
        x = sampling.add_noise(
            self._latent, self._noise, sigmas[0], sampling.is_max_denoise(sigmas[0])
        )
        total, last = len(sigmas) - 1, [x]
        if not total:
            noisy = self._to_vae(sampling.undo_noise_scaling(x, sigmas[0]))
            return noisy, noisy

        def on_step(index: int, denoised: Tensor) -> None:
            last[0] = denoised
            hooks.on_step(index + 1, total, denoised)

        reporter, options = StepReporter(on_step), self._options(x)
        steps = SamplingSteps(fit_sigmas(spec, sampling, sigmas), reporter)
        sampler, denoise = load_sampler(spec, sampling.prediction), self._masked_denoiser()
        if spec.needs_unguided:
            x = sampler(reporter.watch(denoise), x, steps, **options)
        else:
            x = sampler(reporter.watch(_without_unguided(denoise)), x, steps, **options)
        closing_sigma = steps.sigmas[-1].clamp(min=spec.closing_sigma)
        result = sampling.undo_noise_scaling(x, closing_sigma)
        return self._to_vae(result), self._to_vae(last[0])

    def _options(self, x: Tensor) -> dict[str, Any]:
        """Return the sampler's keyword arguments."""
        options: dict[str, Any] = dict(self._run.sampler.options)
        if self._spec.takes_tau:
            taken = {name: options.pop(name) for name in TAU if name in options}
            options["tau"] = _tau(self._model, **taken)
        if self._spec.resizes:
            options["noise_like"] = noise_like(x, self._run.noise.seed, self._run.mode)
        if self._spec.takes_single_step and self._run.mode == "0.3.64":
            options["single_step"] = False
        if self._spec.noise != "none":
            options["noise"] = self._step_noise(x)
        return options

    def _to_vae(self, x: Tensor) -> Tensor:
        return self._model.family.to_vae(x).float().cpu()

    def _masked_denoiser(self) -> PairDenoiser:
        """Return the model call, limited to the noise mask if the latent has one."""
        if self._mask is None:
            return self._denoiser.pair
        mask = fit_mask(self._mask, self._latent)
        noise = self._noise
        if self._spec.mask_noise == "fresh":
            fresh = start_noise(tuple(noise.shape), (self._run.noise.seed + 1) % 2**64)
            noise = fresh.to(noise.device)

        def noisy_at(sigma: Tensor) -> Tensor:
            return self._model.sampling.add_noise(self._latent, noise, sigma, max_denoise=False)

        mask_at = schedule_mask(self._model, mask, self._sigmas)
        return limit_to_mask(self._denoiser.pair, mask_at, self._latent, noisy_at)

    def _step_noise(self, x: Tensor) -> StepNoise:
        kind, seed = self._spec.noise, self._run.noise.seed
        if kind == "step":
            draw = batch_step_noise(x, self._run.noise, self._run.mode)
        else:
            draw = brownian_noise(x, self._sigmas, seed, cpu=kind == "brownian")
        scale = self._run.sampler.noise_scale
        if scale == 1.0:
            return draw
        return lambda sigma, sigma_next: draw(sigma, sigma_next) * scale


def _without_unguided(denoise: PairDenoiser) -> Denoiser:
    def denoise_guided(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma)[0]

    return denoise_guided


# Options of SA-Solver that become its tau.
TAU = ("tau_high", "tau_low", "tau_eta")


def _tau(
    model: Model,
    tau_high: float | None = None,
    tau_low: float | None = None,
    tau_eta: float = 1.0,
) -> Callable[[Tensor], float]:
    """Return SA-Solver's share of the SDE's noise: `tau_eta` between two sigmas, else 0.

    By default the sigmas are those at 20 and 80 percent of the schedule.
    """
    high = model.sampling.percent_to_sigma(0.2) if tau_high is None else tau_high
    low = model.sampling.percent_to_sigma(0.8) if tau_low is None else tau_low
    return lambda sigma: tau_eta if low <= float(sigma) <= high else 0.0
