"""Settings of a model's sampling: its prediction type and its table of sigmas."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Model

CATEGORY = "model/patch"
DiscreteKind = Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"]
ContinuousKind = Literal["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"]
SigmaEnd = Annotated[float, Between(0.0, 1000.0, step=0.001)]
Shift = Annotated[float, Between(0.01, 100.0, step=0.01)]
FluxShift = Annotated[float, Between(0.0, 100.0, step=0.01)]
Side = Annotated[int, Between(16, 16_384, step=8)]


@node("ModelSamplingDiscrete", category=CATEGORY)
def model_sampling_discrete(
    model: Model, sampling: DiscreteKind = "eps", zsnr: bool = False
) -> Model:
    """Set the prediction type of a model with a table of sigmas.

    Args:
        model: the model to change.
        sampling: it predicts the noise, the velocity, the noise of a latent consistency model,
            or the image itself.
        zsnr: rescale the table to zero terminal signal-to-noise ratio.

    Source: ComfyUI's ModelSamplingDiscrete.
    """
    from latentloom.diffusion.schedules.model_sampling import DistilledSampling, ModelSampling

    betas = (model.sampling.beta_start, model.sampling.beta_end)
    if sampling == "lcm":
        return replace(model, sampling=DistilledSampling("lcm", zsnr, *betas))
    prediction = "v" if sampling == "v_prediction" else sampling
    return replace(model, sampling=ModelSampling(prediction, zsnr, *betas))


@node("ModelSamplingSD3", category="model/patch/stable diffusion")
def model_sampling_sd3(model: Model, shift: Shift = 3.0) -> Model:
    """Set up a model for flow matching, with sigma times 1000 as timestep.

    Args:
        model: predicts the velocity from image to noise.
        shift: above 1 spends more steps at high sigmas.

    Source: ComfyUI's ModelSamplingSD3; arXiv 2403.03206.
    """
    from latentloom.diffusion.schedules.flow import FlowSampling

    return replace(model, sampling=FlowSampling(shift=shift))


@node("ModelSamplingAuraFlow", category=CATEGORY)
def model_sampling_aura_flow(model: Model, shift: Shift = 1.73) -> Model:
    """Set up a model for flow matching, with sigma as timestep.

    Args:
        model: predicts the velocity from image to noise.
        shift: above 1 spends more steps at high sigmas.

    Source: ComfyUI's ModelSamplingAuraFlow.
    """
    from latentloom.diffusion.schedules.flow import FlowSampling

    return replace(model, sampling=FlowSampling(shift=shift, multiplier=1.0))


@node("ModelSamplingFlux", category="model/patch/flux")
def model_sampling_flux(
    model: Model,
    max_shift: FluxShift = 1.15,
    base_shift: FluxShift = 0.5,
    width: Side = 1024,
    height: Side = 1024,
) -> Model:
    """Set up a model for flow matching with a shift that grows with the image.

    Args:
        model: predicts the velocity from image to noise.
        max_shift: logarithm of the shift at 1024×1024 pixels.
        base_shift: the same at 256×256 pixels; linear in the area between.
        width, height: size of the images to sample, in pixels.

    Source: ComfyUI's ModelSamplingFlux.
    """
    from latentloom.diffusion.schedules.flow import FluxSampling, flux_shift

    shift = flux_shift(width, height, base_shift, max_shift)
    sampling = FluxSampling(shift=shift, multiplier=1.0, timesteps=10_000)
    return replace(model, sampling=sampling)


@node("ModelSamplingContinuousEDM", category=CATEGORY)
class ModelSamplingContinuousEDM:
    """Set up a model for any sigma between two ends, as in EDM.

    Args:
        model: its timestep is log sigma / 4.
        sampling: it predicts the velocity, EDM's mixture of noise and image, or the noise.
        sigma_max, sigma_min: the ends.

    Raises:
        InputError: the ends are not above 0 and in order, or the prediction type is not supported.

    Source: ComfyUI's ModelSamplingContinuousEDM; arXiv 2206.00364.
    """

    @staticmethod
    def run(
        model: Model,
        sampling: ContinuousKind = "v_prediction",
        sigma_max: SigmaEnd = 120.0,
        sigma_min: SigmaEnd = 0.002,
    ) -> Model:
        from latentloom.diffusion.schedules.model_sampling import ContinuousSampling

        ModelSamplingContinuousEDM.check(sampling, sigma_max, sigma_min)
        plain = ContinuousSampling(low=sigma_min, high=sigma_max)
        if sampling == "edm":
            return replace(model, sampling=replace(plain, prediction="edm", sigma_data=0.5))
        prediction: Literal["v", "eps"] = "v" if sampling == "v_prediction" else "eps"
        return replace(model, sampling=replace(plain, prediction=prediction))

    @staticmethod
    def check(sampling: str, sigma_max: float, sigma_min: float) -> None:
        if sampling in ("edm_playground_v2.5", "cosmos_rflow"):
            raise InputError("sampling", "v_prediction, edm or eps", sampling)
        if not 0 < sigma_min < sigma_max:
            raise InputError("sigma_min", f"above 0 and below sigma_max, {sigma_max}", sigma_min)
