"""Samplers with detailed settings, as values for custom sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Coefficient, Model, Percent, Sampler, SmallCoefficient

CATEGORY = "model/sampling/samplers"
StageShare = Annotated[float, Between(0.01, 1.0, step=0.01)]
NoiseFactor = Annotated[float, Between(0.0, 64.0, step=0.01)]
ClipStd = Annotated[float, Between(0.0, 10.0, step=0.01)]
AdaptiveOrder = Annotated[int, Between(2, 3)]
Stage = Annotated[int, Between(1, 3)]
Predictor = Annotated[int, Between(1, 6)]
Corrector = Annotated[int, Between(0, 6)]
Growth = Annotated[float, Between(0.1, 20.0, step=0.01)]
GrowthMethod = Literal["bislerp", "nearest-exact", "bilinear", "area", "bicubic"]
GrowthSteps = Annotated[int, Between(-1, 1000)]


@node("SamplerDPMAdaptative", category=CATEGORY)
class SamplerDPMAdaptative:
    """Choose DPM-Solver with adaptive steps; of the sigmas only the first and the last count.

    Args:
        order: order of a step, and number of model calls in it.
        rtol, atol: tolerance for the difference to the order below, relative and absolute.
        h_init: size of the first step, in log sigma.
        pcoeff, icoeff, dcoeff: proportional, integral and derivative gain of the step size.
        accept_safety: a step is accepted if the next may be at least this many times as large.
        eta: share of fresh noise; 0 is the ODE.
        s_noise: factor on the fresh noise.

    Raises:
        InputError: h_init is 0.

    Source: ComfyUI's node of this name; k-diffusion.
    """

    @staticmethod
    def run(
        *,
        order: AdaptiveOrder = 3,
        rtol: Coefficient = 0.05,
        atol: Coefficient = 0.0078,
        h_init: Coefficient = 0.05,
        pcoeff: Coefficient = 0.0,
        icoeff: Coefficient = 1.0,
        dcoeff: Coefficient = 0.0,
        accept_safety: Coefficient = 0.81,
        eta: Coefficient = 0.0,
        s_noise: Coefficient = 1.0,
    ) -> Sampler:
        from latentloom.diffusion.samplers.table import SamplerChoice

        SamplerDPMAdaptative.check(h_init)
        options: dict[str, float | str] = {
            "order": order,
            "rtol": rtol,
            "atol": atol,
            "h_init": h_init,
            "pcoeff": pcoeff,
            "icoeff": icoeff,
            "dcoeff": dcoeff,
            "accept_safety": accept_safety,
            "eta": eta,
        }
        return SamplerChoice("dpm_adaptive", tuple(options.items()), s_noise)

    @staticmethod
    def check(h_init: float) -> None:
        if h_init == 0:
            raise InputError("h_init", "a first step above 0", h_init)


@node("SamplerER_SDE", category=CATEGORY)
def sampler_er_sde(
    solver_type: Literal["ER-SDE", "Reverse-time SDE", "ODE"] = "ER-SDE",
    max_stage: Stage = 3,
    eta: SmallCoefficient = 1.0,
    s_noise: Coefficient = 1.0,
) -> Sampler:
    """Choose the extended reverse-time SDE of order 1 to 3.

    Args:
        solver_type: noise of the steps: that of ER-SDE, of the reverse-time SDE, or none.
        max_stage: the order.
        eta: share of the noise; ODE ignores it, and ER-SDE with LATENTLOOM_COMFYUI=0.3.64.
        s_noise: factor on the noise.

    Source: arXiv 2309.06169.
    """
    from latentloom.diffusion.compatibility import compatibility_mode
    from latentloom.diffusion.samplers.table import SamplerChoice

    is_extended = solver_type == "ER-SDE"
    ignores_eta = is_extended and compatibility_mode() == "0.3.64"
    options: dict[str, float | str] = {
        "order": max_stage,
        "eta": 0.0 if solver_type == "ODE" else 1.0 if ignores_eta else eta,
        "kind": "extended" if is_extended else "reverse",
    }
    return SamplerChoice("er_sde", tuple(options.items()), s_noise)


@node("SamplerSEEDS2", category=CATEGORY)
def sampler_seeds_2(
    solver_type: Literal["phi_1", "phi_2"] = "phi_1",
    eta: Coefficient = 1.0,
    s_noise: Coefficient = 1.0,
    r: StageShare = 0.5,
) -> Sampler:
    """Choose SEEDS-2: two stages a step with correlated noises.

    phi_2 with r = 1 is exp_heun_2_x0 at eta 0, and exp_heun_2_x0_sde above.

    Args:
        solver_type: weights of the stages; phi_2 meets the conditions of order 2 exactly.
        eta: share of the SDE's noise; 0 is the ODE.
        s_noise: factor on the noise.
        r: share of a step at which the second stage evaluates the model.

    Source: arXiv 2305.14267.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options: dict[str, float | str] = {"solver": solver_type, "eta": eta, "r": r}
    return SamplerChoice("seeds_2", tuple(options.items()), s_noise)


@node("SamplerLCM", category=CATEGORY)
def sampler_lcm(
    s_noise: NoiseFactor = 1.0, s_noise_end: NoiseFactor = 1.0, noise_clip_std: ClipStd = 0.0
) -> Sampler:
    """Choose LCM steps: go to the prediction and add noise for the next sigma.

    Args:
        s_noise, s_noise_end: factors on the noise of the first and of the last step, linear
            between them.
        noise_clip_std: largest size of the noise in its standard deviations; 0 has no limit.

    Source: arXiv 2310.04378.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options = {"first": s_noise, "last": s_noise_end, "clip": noise_clip_std}
    return SamplerChoice("lcm", tuple(options.items()))


@node("SamplerSASolver", category=CATEGORY)
def sampler_sa_solver(
    *,
    model: Model,
    eta: SmallCoefficient = 1.0,
    sde_start_percent: Percent = 0.2,
    sde_end_percent: Percent = 0.8,
    s_noise: Coefficient = 1.0,
    predictor_order: Predictor = 3,
    corrector_order: Corrector = 4,
    use_pece: bool = False,
    simple_order_2: bool = False,
) -> Sampler:
    """Choose stochastic Adams steps (SA-Solver), predicted and corrected.

    Args:
        model: gives the sigmas of the two shares.
        eta: share of the SDE's noise; 0 is the ODE.
        sde_start_percent, sde_end_percent: shares of the schedule between which the steps add
            noise.
        s_noise: factor on the noise.
        predictor_order, corrector_order: number of past predictions that count; a corrector
            of 0 does not correct.
        use_pece: call the model once more after each correction.
        simple_order_2: weights of order 2 by their leading term, for few steps.

    Source: arXiv 2309.05019.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options: dict[str, float | str] = {
        "tau_eta": eta,
        "tau_high": model.sampling.percent_to_sigma(sde_start_percent),
        "tau_low": model.sampling.percent_to_sigma(sde_end_percent),
        "predictor": predictor_order,
        "corrector": corrector_order,
        "simple": simple_order_2,
    }
    name = "sa_solver_pece" if use_pece else "sa_solver"
    return SamplerChoice(name, tuple(options.items()), s_noise)


@node("SamplerLCMUpscale", category=CATEGORY)
def sampler_lcm_upscale(
    scale_ratio: Growth = 1.0,
    scale_steps: GrowthSteps = -1,
    upscale_method: GrowthMethod = "bislerp",
) -> Sampler:
    """Choose LCM steps that enlarge the latent step by step.

    Args:
        scale_ratio: factor on the size of the latent.
        scale_steps: number of the first steps that enlarge it; -1 is half of them.
        upscale_method: interpolation of latents.

    Source: ComfyUI's node of this name, which draws the noise of its steps from torch's global
        generator; here it depends on the seed.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options: dict[str, float | str] = {
        "scale": scale_ratio,
        "scale_steps": scale_steps,
        "method": upscale_method,
    }
    return SamplerChoice("lcm_upscale", tuple(options.items()))
