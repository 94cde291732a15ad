"""Samplers, noise and guiders as values, which custom sampling combines."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import (
    Cfg,
    Coefficient,
    Conditioning,
    Guider,
    Latent,
    Model,
    Noise,
    Sampler,
    SamplerName,
    Seed,
    Share,
    Sigmas,
    SmallCoefficient,
)

SAMPLERS = "model/sampling/samplers"
NOISE = "model/sampling/noise"
GUIDERS = "model/sampling/guiders"
Order = Annotated[int, Between(1, 100)]
NoiseDevice = Literal["gpu", "cpu"]


@node("KSamplerSelect", category=SAMPLERS)
def ksampler_select(sampler_name: SamplerName = "euler") -> Sampler:
    """Choose a sampler by its name.

    Args:
        sampler_name: the sampler.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    return SamplerChoice(sampler_name)


@node("SamplerEulerAncestral", category=SAMPLERS)
def sampler_euler_ancestral(eta: Coefficient = 1.0, s_noise: Coefficient = 1.0) -> Sampler:
    """Choose Euler steps with fresh noise after each.

    Args:
        eta: share of fresh noise; 0 is plain Euler.
        s_noise: factor on the fresh noise.
    """
    return _choose("euler_ancestral", s_noise, eta=eta)


@node("SamplerEulerAncestralCFGPP", category=SAMPLERS)
def sampler_euler_ancestral_cfg_pp(eta: Share = 1.0, s_noise: SmallCoefficient = 1.0) -> Sampler:
    """Choose Euler steps of CFG++ with fresh noise after each.

    Args:
        eta: share of fresh noise.
        s_noise: factor on the fresh noise.
    """
    return _choose("euler_ancestral_cfg_pp", s_noise, eta=eta)


@node("SamplerDPMPP_2S_Ancestral", category=SAMPLERS)
def sampler_dpmpp_2s_ancestral(eta: Coefficient = 1.0, s_noise: Coefficient = 1.0) -> Sampler:
    """Choose single-step DPM-Solver++ of order 2 with fresh noise after each step.

    Args:
        eta: share of fresh noise; 0 is the ODE solver.
        s_noise: factor on the fresh noise.
    """
    return _choose("dpmpp_2s_ancestral", s_noise, eta=eta)


@node("SamplerDPMPP_SDE", category=SAMPLERS)
def sampler_dpmpp_sde(
    eta: Coefficient = 1.0,
    s_noise: Coefficient = 1.0,
    r: Coefficient = 0.5,
    noise_device: NoiseDevice = "gpu",
) -> Sampler:
    """Choose single-step DPM-Solver++ of order 2 on the SDE.

    Args:
        eta: share of the SDE's noise; 0 is the ODE.
        s_noise: factor on the noise.
        r: position of the second model call within a step, in log sigma.
        noise_device: device that draws the noise; without a GPU both give the same.
    """
    return _choose(_name_on(noise_device, "dpmpp_sde"), s_noise, eta=eta, r=r)


@node("SamplerDPMPP_2M_SDE", category=SAMPLERS)
def sampler_dpmpp_2m_sde(
    solver_type: Literal["midpoint", "heun"] = "midpoint",
    eta: Coefficient = 1.0,
    s_noise: Coefficient = 1.0,
    noise_device: NoiseDevice = "gpu",
) -> Sampler:
    """Choose multistep DPM-Solver++ of order 2 on the SDE.

    Args:
        solver_type: weight of the change since the last step.
        eta: share of the SDE's noise; 0 is the ODE.
        s_noise: factor on the noise.
        noise_device: device that draws the noise; without a GPU both give the same.
    """
    name = _name_on(noise_device, "dpmpp_2m_sde")
    return _choose(name, s_noise, eta=eta, solver_type=solver_type)


@node("SamplerDPMPP_3M_SDE", category=SAMPLERS)
def sampler_dpmpp_3m_sde(
    eta: Coefficient = 1.0, s_noise: Coefficient = 1.0, noise_device: NoiseDevice = "gpu"
) -> Sampler:
    """Choose multistep DPM-Solver++ of order 3 on the SDE.

    Args:
        eta: share of the SDE's noise; 0 is the ODE.
        s_noise: factor on the noise.
        noise_device: device that draws the noise; without a GPU both give the same.
    """
    return _choose(_name_on(noise_device, "dpmpp_3m_sde"), s_noise, eta=eta)


@node("SamplerLMS", category=SAMPLERS)
def sampler_lms(order: Order = 4) -> Sampler:
    """Choose the linear multistep sampler (LMS).

    Args:
        order: number of past steps that count.
    """
    return _choose("lms", 1.0, order=order)


@node("RandomNoise", category=NOISE)
def random_noise(noise_seed: Seed = 0) -> Noise:
    """Make noise from a seed.

    Args:
        noise_seed: seed of the initial noise and of the noise of the steps.
    """
    from latentloom.diffusion.sampling.noise import NoiseChoice

    return NoiseChoice(noise_seed)


@node("DisableNoise", category=NOISE)
def disable_noise() -> Noise:
    """Add no initial noise, for latents that contain some; the noise of the steps has seed 0."""
    from latentloom.diffusion.sampling.noise import NoiseChoice

    return NoiseChoice(0, add=False)


@node("BasicGuider", category=GUIDERS)
def basic_guider(model: Model, conditioning: Conditioning) -> Guider:
    """Sample with one conditioning, without guidance.

    Args:
        model: the model to sample with.
        conditioning: what the image should show.
    """
    from latentloom.diffusion.sampling.guidance import Guidance

    return Guidance(model, conditioning)


@node("CFGGuider", category=GUIDERS)
def cfg_guider(
    model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0
) -> Guider:
    """Sample with classifier-free guidance.

    Args:
        model: the model to sample with.
        positive: what the image should show.
        negative: what it should not show; unused at cfg 1.
        cfg: guidance scale; 1 turns it off.
    """
    from latentloom.diffusion.sampling.guidance import Guidance

    return Guidance(model, positive, negative, cfg)


@node("DualCFGGuider", category=GUIDERS)
def dual_cfg_guider(
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0,
    style: Literal["regular", "nested"] = "regular",
) -> Guider:
    """Sample with guidance by two conditionings, such as a prompt and an image.

    Args:
        model: the model to sample with.
        cond1: the first conditioning, such as prompt and image.
        cond2: the second conditioning, such as the image alone.
        negative: what it should not show.
        cfg_conds: guidance of `cond1` against `cond2`.
        cfg_cond2_negative: guidance of `cond2` against the negative.
        style: regular adds the two guidances, nested guides by the result of the first one.

    Source: InstructPix2Pix (arXiv 2211.09800).
    """
    from latentloom.diffusion.sampling.guidance import Guidance

    return Guidance(model, cond1, negative, cfg_conds, cond2, cfg_cond2_negative, style)


@node("PerpNegGuider", category="experimental")
def perp_neg_guider(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty_conditioning: Conditioning,
    cfg: Cfg = 8.0,
    neg_scale: Coefficient = 1.0,
) -> Guider:
    """Sample with guidance by the part of the negative that is perpendicular to the positive.

    Args:
        model: the model to sample with.
        positive: what the image should show.
        negative: what it should not show; its part along the positive is ignored.
        empty_conditioning: an empty prompt, from which both are measured.
        cfg: guidance scale.
        neg_scale: weight of the negative.

    Source: Perp-Neg (arXiv 2304.04968). The projection is over the whole batch, as in ComfyUI.
    """
    from latentloom.diffusion.sampling.guidance import Guidance

    return Guidance(model, positive, negative, cfg, empty_conditioning, neg_scale, "perpendicular")


@node("AddNoise", category="model/sampling/noise")
def add_noise(model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> Latent:
    """Add noise to a latent, for a sampler with add_noise off or DisableNoise.

    Args:
        model: gives the scale of latents.
        noise: the noise to add.
        sigmas: the amount is the difference of the first and the last.
        latent_image: latents B×C×h×w.

    Source: ComfyUI's AddNoise.
    """
    from latentloom.diffusion.sampling.sample import add_latent_noise

    return add_latent_noise(model, latent_image, noise, sigmas)


def _name_on(device: NoiseDevice, name: str) -> str:
    return f"{name}_gpu" if device == "gpu" else name


def _choose(name: str, noise_scale: float, **options: float | str) -> Sampler:
    from latentloom.diffusion.samplers.table import SamplerChoice

    return SamplerChoice(name, tuple(options.items()), noise_scale)
