"""Samplers whose steps are controlled in detail, as values for custom sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Coefficient, Model, Percent, Sampler, SmallCoefficient

CATEGORY = "sampling/custom_sampling/samplers"
AdaptiveOrder = Annotated[int, Between(2, 3)]
Stage = Annotated[int, Between(1, 3)]
Predictor = Annotated[int, Between(1, 6)]
Corrector = Annotated[int, Between(0, 6)]
Growth = Annotated[float, Between(0.1, 20.0, step=0.01)]
GrowthMethod = Literal["bislerp", "nearest-exact", "bilinear", "area", "bicubic"]
GrowthSteps = Annotated[int, Between(-1, 1000)]


@node("SamplerDPMAdaptative", category=CATEGORY)
class SamplerDPMAdaptative:
    """DPM-Solver whose steps are as long as a tolerance allows; levels give only both ends.

    Args:
        order: of a step; each try asks the model as often.
        rtol, atol: difference to the order below that is allowed, relative and absolute.
        h_init: size of the first step in log sigma.
        pcoeff, icoeff, dcoeff: how the size follows the error, its change and its trend.
        accept_safety: a step is taken where the next may be this much larger, or more.
        eta: share of fresh noise; 0 is the ODE.
        s_noise: what the fresh noise is multiplied with.

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
    eta: Coefficient = 1.0,
    s_noise: Coefficient = 1.0,
) -> Sampler:
    """Extended reverse-time SDE of order 1 to 3.

    Args:
        solver_type: how much noise is put back: that of ER-SDE, of the reverse-time SDE, or none.
        max_stage: the order.
        eta: share of the reverse-time SDE's noise; the others do not ask.
        s_noise: what the noise is multiplied with.

    Source: arXiv 2309.06169.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options: dict[str, float | str] = {"order": max_stage}
    if solver_type != "ER-SDE":
        options["eta"] = eta if solver_type == "Reverse-time SDE" else 0.0
    return SamplerChoice("er_sde", tuple(options.items()), s_noise)


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
    """Stochastic Adams steps, predicted and corrected.

    Args:
        model: gives the levels of the two shares.
        eta: share of the SDE's noise; 0 is the ODE.
        sde_start_percent, sde_end_percent: shares of the way from noise to image between which
            there is noise.
        s_noise: what the noise is multiplied with.
        predictor_order, corrector_order: how many of the last answers count; a corrector of 0
            does not correct.
        use_pece: ask the model once more after each correction.
        simple_order_2: order 2 by its leading term, which a few steps may like better.

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
    """LCM steps between which the latent grows.

    Args:
        scale_ratio: size of the result over that of the latent.
        scale_steps: after so many of the first steps it grows; -1 is half of them.
        upscale_method: how latents are resized.

    Source: ComfyUI's node of this name, which draws the noise of its steps from whatever state
        the process is in; here it follows from the seed.
    """
    from latentloom.diffusion.samplers.table import SamplerChoice

    options: dict[str, float | str] = {
        "scale": scale_ratio,
        "scale_steps": scale_steps,
        "method": upscale_method,
    }
    return SamplerChoice("lcm_upscale", tuple(options.items()))
