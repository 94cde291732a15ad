"""Sampling of latents: in one node, or with the parts as inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from latentloom.engine.node.context import Context
from latentloom.engine.node.spec import Alike, node

from .checks import as_input_error
from .ports import (
    Cfg,
    Conditioning,
    Denoise,
    Guider,
    Latent,
    Model,
    Noise,
    Sampler,
    SamplerName,
    SchedulerName,
    Seed,
    Sigmas,
    StepIndex,
    Steps,
)

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.diffusion.sampling.hooks import Hooks
    from latentloom.diffusion.sampling.together import SampleRequest


class Samples(NamedTuple):
    """The latent at the last sigma, and the model's last prediction of the image."""

    output: Latent
    denoised_output: Latent


@node("KSampler", category="model/sampling", device=True)
class KSampler:
    """Denoise a latent: at denoise 1 from pure noise, below from the image in it.

    Args:
        model: the model that predicts the noise.
        positive: what the image should show.
        negative: what it should not show; unused at cfg 1.
        latent_image: latents B×C×h×w to start from; a noise mask protects the rest.
        seed: seed of the noise; the same seed gives the same image.
        steps: number of model steps, for every denoise.
        cfg: scale of classifier-free guidance; 1 is none.
        sampler_name: the sampler.
        scheduler: the schedule of sigmas.
        denoise: share of the schedule to run: the last `steps` of int(steps / denoise) steps.
            0 leaves the latent unchanged.

    Raises:
        InputError: the latent does not fit the model.
        SamplingError: the model gave NaN or infinity.

    Source: ComfyUI's KSampler.
    """

    @staticmethod
    def run(
        *,
        model: Model,
        seed: Seed = 0,
        steps: Steps = 20,
        cfg: Cfg = 8.0,
        sampler_name: SamplerName = "euler",
        scheduler: SchedulerName = "simple",
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        denoise: Denoise = 1.0,
        context: Context,
    ) -> Latent:
        from latentloom.diffusion.sampling.sample import SamplePlan, sample

        _check_channels(model, latent_image)
        plan = SamplePlan(seed, steps, cfg, sampler_name, scheduler, denoise)
        return sample(model, latent_image, positive, negative, plan, _hooks(context, model))

    @staticmethod
    def alike(model: Model, **inputs: Any) -> Alike | None:
        """Say which other calls one batch can hold; None if the call must be alone."""
        from latentloom.diffusion.sampling.together import batch_key, max_requests

        request = _request(**inputs)
        key = batch_key(model, request)
        return None if key is None else Alike(key, max_requests(request.latent))

    @staticmethod
    def together(calls: Sequence[Mapping[str, Any]], context: Context) -> list[Latent]:
        """Sample the latents of several calls as one batch."""
        from latentloom.diffusion.sampling.together import sample_together

        model: Model = calls[0]["model"]
        requests = []
        for call in calls:
            inputs = dict(call)
            _check_channels(inputs.pop("model"), inputs["latent_image"])
            requests.append(_request(**inputs))
        return sample_together(model, requests, _hooks(context, model))


@node("KSamplerAdvanced", category="model/sampling", device=True)
def ksampler_advanced(
    *,
    model: Model,
    add_noise: Literal["enable", "disable"] = "enable",
    noise_seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName = "euler",
    scheduler: SchedulerName = "simple",
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    end_at_step: StepIndex = 10_000,
    return_with_leftover_noise: Literal["disable", "enable"] = "disable",
    context: Context,
) -> Latent:
    """Run a part of a schedule, such as the first steps on one model and the rest on another.

    Args:
        model: the model that predicts the noise.
        positive: what the image should show.
        negative: what it should not show; unused at cfg 1.
        latent_image: latents B×C×h×w to start from.
        add_noise: disable if the latent already contains noise.
        noise_seed: seed of the noise, also of that of the steps.
        steps: number of steps of the full schedule.
        cfg: scale of classifier-free guidance; 1 is none.
        sampler_name: the sampler.
        scheduler: the schedule of sigmas.
        start_at_step: first step to run; at or past the end the latent stays unchanged.
        end_at_step: the step to stop before.
        return_with_leftover_noise: disable denoises fully in the last step.

    Raises:
        InputError: the latent does not fit the model.
        SamplingError: the model gave NaN or infinity.

    Source: ComfyUI's KSamplerAdvanced.
    """
    from latentloom.diffusion.sampling.sample import SamplePlan, sample

    _check_channels(model, latent_image)
    plan = SamplePlan(
        noise_seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        start=start_at_step,
        end=end_at_step,
        add_noise=add_noise == "enable",
        leftover_noise=return_with_leftover_noise == "enable",
    )
    return sample(model, latent_image, positive, negative, plan, _hooks(context, model))


@node("SamplerCustom", category="model/sampling/custom", device=True)
def sampler_custom(
    *,
    model: Model,
    add_noise: bool = True,
    noise_seed: Seed = 0,
    cfg: Cfg = 8.0,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    context: Context,
) -> Samples:
    """Sample through given sigmas.

    Args:
        model: the model that predicts the noise.
        add_noise: False if the latent already contains noise.
        noise_seed: seed of the noise, also of that of the steps.
        cfg: scale of classifier-free guidance; 1 is none.
        positive: what the image should show.
        negative: what it should not show; unused at cfg 1.
        sampler: the sampler.
        sigmas: a single one only adds its noise; none leave the latent unchanged.
        latent_image: latents B×C×h×w to start from; a noise mask protects the rest.

    Raises:
        InputError: the latent does not fit the model.
        SamplingError: the model gave NaN or infinity.

    Source: ComfyUI's SamplerCustom.
    """
    from latentloom.diffusion.sampling.guidance import Guidance
    from latentloom.diffusion.sampling.noise import NoiseChoice
    from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom

    _check_channels(model, latent_image)
    guidance = Guidance(model, positive, negative, cfg)
    run = SamplingRun(sigmas, sampler, NoiseChoice(noise_seed, add_noise))
    return Samples(*sample_custom(guidance, latent_image, run, _hooks(context, model)))


@node("SamplerCustomAdvanced", category="model/sampling/custom", device=True)
def sampler_custom_advanced(
    *,
    noise: Noise,
    guider: Guider,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    context: Context,
) -> Samples:
    """Sample with a choice of noise, guider, sampler and sigmas.

    Args:
        noise: the initial noise, and the seed of the noise of the steps.
        guider: the model and its guidance.
        sampler: the sampler.
        sigmas: a single one only adds its noise; none leave the latent unchanged.
        latent_image: latents B×C×h×w to start from; a noise mask protects the rest.

    Raises:
        InputError: the latent does not fit the model.
        SamplingError: the model gave NaN or infinity.

    Source: ComfyUI's SamplerCustomAdvanced.
    """
    from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom

    _check_channels(guider.model, latent_image)
    run = SamplingRun(sigmas, sampler, noise)
    return Samples(*sample_custom(guider, latent_image, run, _hooks(context, guider.model)))


def _request(
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float,
) -> SampleRequest:
    from latentloom.diffusion.sampling.sample import SamplePlan
    from latentloom.diffusion.sampling.together import SampleRequest

    plan = SamplePlan(seed, steps, cfg, sampler_name, scheduler, denoise)
    return SampleRequest(latent_image, positive, negative, plan)


def _hooks(context: Context, model: Model) -> Hooks:
    from latentloom.diffusion.networks.preview import LatentPreview
    from latentloom.diffusion.sampling.hooks import Hooks

    def on_step(step: int, total: int, denoised: Tensor) -> None:
        context.progress(step, total, LatentPreview(denoised, model.family))

    return Hooks(on_step, context.count_model_call, context.note)


def _check_channels(model: Model, latent: Latent) -> None:
    from latentloom.diffusion.latents.latents import fit_space

    with as_input_error("latent_image"):
        fit_space(latent, model.family.space)
