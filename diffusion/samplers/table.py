"""The samplers by the names that graph files use, in the field's usual order; read without torch.

A new sampler is a function and a row of this table; nothing else lists them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

NoiseKind = Literal["none", "step", "brownian", "brownian on device"]
# Forms for flow models: the function itself, or the function made fit by `flow.by_ratio`.
SAME, BY_RATIO = "same", "by ratio"


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler and the arguments that it takes.

    Attributes:
        function: `module:name` in this package.
        noise: the noise that it draws; see `diffusion.sampling.noise`.
        mask_noise: noise of the masked-out part: the run's own, or fresh noise drawn once with
            the seed + 1.
        needs_unguided: its model call gives D and the unguided D (CFG++).
        takes_tau: it takes the share of the SDE's noise at a sigma (SA-Solver).
        takes_single_step: it can leave the latent unchanged if there is only one step.
        resizes: the latent grows, and with it the noise of its steps.
        flow: its form for flow-matching models: SAME, BY_RATIO, or `module:name`.
        starts_below_one: it starts a little below sigma 1, where a flow has no image at all.
        discards_penultimate: its schedule loses the last sigma above 0, as it evaluates the
            model between two sigmas and the last two would be too close.
        closing_sigma: the sigma by which a flow's latent is scaled at an end at 0.
        is_listed: graph files may name it; others are made by a node of their own.
    """

    function: str
    noise: NoiseKind = "none"
    _: KW_ONLY
    mask_noise: Literal["own", "fresh"] = "own"
    needs_unguided: bool = False
    takes_tau: bool = False
    takes_single_step: bool = False
    resizes: bool = False
    flow: str = SAME
    starts_below_one: bool = False
    discards_penultimate: bool = False
    closing_sigma: float = 0.0
    is_listed: bool = True


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler as it travels on edges.

    Attributes:
        name: one of the table's.
        options: its function's own keyword arguments, if they differ from the defaults.
        noise_scale: factor on the noise of its steps.
    """

    name: str
    options: tuple[tuple[str, float | str], ...] = ()
    noise_scale: float = 1.0


def _cfg_pp(function: str, noise: NoiseKind = "none", flow: str = SAME) -> SamplerSpec:
    """Return the row of a sampler that renoises with the unguided prediction."""
    return SamplerSpec(function, noise, needs_unguided=True, flow=flow)


def _exponential(function: str, noise: NoiseKind, takes_tau: bool = False) -> SamplerSpec:
    """Return the row of a sampler over the logarithm of the ratio of noise to image."""
    return SamplerSpec(function, noise, takes_tau=takes_tau, flow=BY_RATIO, starts_below_one=True)


def _uni_pc(function: str) -> SamplerSpec:
    """Return the row of a form of UniPC, which stops at a sigma of 0.001 in ComfyUI."""
    return SamplerSpec(
        function, takes_single_step=True, discards_penultimate=True, closing_sigma=0.001
    )


SAMPLER_TABLE: dict[str, SamplerSpec] = {
    "euler": SamplerSpec("euler:euler"),
    "euler_cfg_pp": _cfg_pp("cfg_pp:euler_cfg_pp", flow=BY_RATIO),
    "euler_ancestral": SamplerSpec(
        "euler:euler_ancestral", "step", flow="flow:flow_euler_ancestral"
    ),
    "euler_ancestral_cfg_pp": _cfg_pp("cfg_pp:euler_ancestral_cfg_pp", "step", flow=BY_RATIO),
    "heun": SamplerSpec("euler:heun"),
    "heunpp2": SamplerSpec("second_order:heunpp2"),
    "exp_heun_2_x0": _exponential("seeds:exp_heun_2_x0", "none"),
    "exp_heun_2_x0_sde": _exponential("seeds:exp_heun_2_x0_sde", "step"),
    "dpm_2": SamplerSpec("dpm:dpm_2", discards_penultimate=True),
    "dpm_2_ancestral": SamplerSpec(
        "dpm:dpm_2_ancestral",
        "step",
        flow="flow:flow_dpm_2_ancestral",
        discards_penultimate=True,
    ),
    "lms": SamplerSpec("multistep:lms"),
    "dpm_fast": SamplerSpec("dpm_solver:dpm_fast"),
    "dpm_adaptive": SamplerSpec("dpm_solver:dpm_adaptive", "step"),
    "dpmpp_2s_ancestral": SamplerSpec(
        "dpm:dpmpp_2s_ancestral", "step", flow="flow:flow_dpmpp_2s_ancestral"
    ),
    "dpmpp_2s_ancestral_cfg_pp": _cfg_pp("cfg_pp:dpmpp_2s_ancestral_cfg_pp", "step"),
    "dpmpp_sde": _exponential("sde:dpmpp_sde", "brownian"),
    "dpmpp_sde_gpu": _exponential("sde:dpmpp_sde", "brownian on device"),
    "dpmpp_2m": SamplerSpec("dpm:dpmpp_2m"),
    "dpmpp_2m_cfg_pp": _cfg_pp("cfg_pp:dpmpp_2m_cfg_pp"),
    "dpmpp_2m_sde": _exponential("sde:dpmpp_2m_sde", "brownian"),
    "dpmpp_2m_sde_gpu": _exponential("sde:dpmpp_2m_sde", "brownian on device"),
    "dpmpp_2m_sde_heun": _exponential("sde:dpmpp_2m_sde_heun", "brownian"),
    "dpmpp_2m_sde_heun_gpu": _exponential("sde:dpmpp_2m_sde_heun", "brownian on device"),
    "dpmpp_3m_sde": _exponential("sde:dpmpp_3m_sde", "brownian"),
    "dpmpp_3m_sde_gpu": _exponential("sde:dpmpp_3m_sde", "brownian on device"),
    "ddpm": SamplerSpec("euler:ddpm", "step"),
    "lcm": SamplerSpec("euler:lcm", "step", flow=BY_RATIO),
    "lcm_upscale": SamplerSpec("euler:lcm_upscale", resizes=True, flow=BY_RATIO, is_listed=False),
    "ipndm": SamplerSpec("multistep:ipndm"),
    "ipndm_v": SamplerSpec("multistep:ipndm_v"),
    "deis": SamplerSpec("multistep:deis"),
    "res_multistep": SamplerSpec("second_order:res_multistep"),
    "res_multistep_cfg_pp": _cfg_pp("second_order:res_multistep_cfg_pp"),
    "res_multistep_ancestral": SamplerSpec("second_order:res_multistep_ancestral", "step"),
    "res_multistep_ancestral_cfg_pp": _cfg_pp(
        "second_order:res_multistep_ancestral_cfg_pp", "step"
    ),
    "gradient_estimation": SamplerSpec("second_order:gradient_estimation"),
    "gradient_estimation_cfg_pp": _cfg_pp("second_order:gradient_estimation_cfg_pp"),
    "er_sde": _exponential("seeds:er_sde", "step"),
    "seeds_2": _exponential("seeds:seeds_2", "step"),
    "seeds_3": _exponential("seeds:seeds_3", "step"),
    "sa_solver": _exponential("sa_solver:sa_solver", "step", takes_tau=True),
    "sa_solver_pece": _exponential("sa_solver:sa_solver_pece", "step", takes_tau=True),
    "ddim": SamplerSpec("euler:euler", mask_noise="fresh"),
    "uni_pc": _uni_pc("unipc:uni_pc"),
    "uni_pc_bh2": _uni_pc("unipc:uni_pc_bh2"),
}
SAMPLER_NAMES = tuple(name for name, spec in SAMPLER_TABLE.items() if spec.is_listed)
