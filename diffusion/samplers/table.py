"""Samplers by the names that graph files use, and the noise that each draws.

`lcm_upscale` is no name of a file: a node of its own makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..schedules.model_sampling import ModelSampling
from . import (
    cfg_pp,
    dpm,
    dpm_solver,
    euler,
    flow,
    multistep,
    sa_solver,
    sde,
    second_order,
    seeds,
    unipc,
)

NoiseKind = Literal["none", "step", "brownian", "brownian on device"]
# Share of the way where samplers start that cannot start from pure noise.
BELOW_ONE = 1e-4


@dataclass(frozen=True)
class Sampler:
    """A sampler and what it must be given.

    Attributes:
        noise: which noise it draws; see `diffusion.sampling.noise`.
        mask_noise: what the masked-out part is noised with: the run's own noise, or fresh noise
            drawn once with the seed + 1.
        pair: the model call gives D and the unguided D (CFG++).
        tau: it takes how much of the SDE's noise there is at a level (SA-Solver).
        resizes: the latent grows on its way, and with it the noise of its steps.
        may_rest: it can be told to leave the latent as it is where there is one step only.
        flow: its form for flow-matching models, where that is another.
        below_one: it starts a little below level 1, where a flow has no image at all.
    """

    function: Callable[..., Tensor]
    noise: NoiseKind = "none"
    mask_noise: Literal["own", "fresh"] = "own"
    pair: bool = False
    tau: bool = False
    resizes: bool = False
    may_rest: bool = False
    flow: Callable[..., Tensor] | None = None
    below_one: bool = False

    def on(self, sampling: ModelSampling, sigmas: Tensor) -> tuple[Callable[..., Tensor], Tensor]:
        """The sampler's form for a kind of levels, and the levels it goes through."""
        if sampling.prediction != "flow":
            return self.function, sigmas
        if self.below_one and sigmas[0] >= 1:
            first = torch.tensor([sampling.percent_to_sigma(BELOW_ONE)])
            sigmas = torch.cat([first, sigmas[1:]])
        return self.flow or self.function, sigmas


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler as it travels on edges.

    Attributes:
        name: one of the table's.
        options: its function's own keyword arguments, where they are not the defaults.
        noise_scale: what the noise of its steps is multiplied with.
    """

    name: str
    options: tuple[tuple[str, float | str], ...] = ()
    noise_scale: float = 1.0


def _exponential(function: Callable[..., Tensor], noise: NoiseKind, tau: bool = False) -> Sampler:
    """A sampler over the logarithm of the ratio of noise to image."""
    return Sampler(function, noise, tau=tau, flow=flow.by_ratio(function), below_one=True)


SAMPLER_TABLE: dict[str, Sampler] = {
    "euler": Sampler(euler.euler),
    "euler_cfg_pp": Sampler(
        cfg_pp.euler_cfg_pp, pair=True, flow=flow.by_ratio(cfg_pp.euler_cfg_pp)
    ),
    "euler_ancestral": Sampler(euler.euler_ancestral, "step", flow=flow.flow_euler_ancestral),
    "euler_ancestral_cfg_pp": Sampler(
        cfg_pp.euler_ancestral_cfg_pp,
        "step",
        pair=True,
        flow=flow.by_ratio(cfg_pp.euler_ancestral_cfg_pp),
    ),
    "heun": Sampler(euler.heun),
    "heunpp2": Sampler(second_order.heunpp2),
    "dpm_2": Sampler(dpm.dpm_2),
    "dpm_2_ancestral": Sampler(dpm.dpm_2_ancestral, "step", flow=flow.flow_dpm_2_ancestral),
    "lms": Sampler(multistep.lms),
    "dpm_fast": Sampler(dpm_solver.dpm_fast),
    "dpm_adaptive": Sampler(dpm_solver.dpm_adaptive, "step"),
    "dpmpp_2s_ancestral": Sampler(
        dpm.dpmpp_2s_ancestral, "step", flow=flow.flow_dpmpp_2s_ancestral
    ),
    "dpmpp_2s_ancestral_cfg_pp": Sampler(cfg_pp.dpmpp_2s_ancestral_cfg_pp, "step", pair=True),
    "dpmpp_sde": _exponential(sde.dpmpp_sde, "brownian"),
    "dpmpp_sde_gpu": _exponential(sde.dpmpp_sde, "brownian on device"),
    "dpmpp_2m": Sampler(dpm.dpmpp_2m),
    "dpmpp_2m_cfg_pp": Sampler(cfg_pp.dpmpp_2m_cfg_pp, pair=True),
    "dpmpp_2m_sde": _exponential(sde.dpmpp_2m_sde, "brownian"),
    "dpmpp_2m_sde_gpu": _exponential(sde.dpmpp_2m_sde, "brownian on device"),
    "dpmpp_2m_sde_heun": _exponential(sde.dpmpp_2m_sde_heun, "brownian"),
    "dpmpp_2m_sde_heun_gpu": _exponential(sde.dpmpp_2m_sde_heun, "brownian on device"),
    "dpmpp_3m_sde": _exponential(sde.dpmpp_3m_sde, "brownian"),
    "dpmpp_3m_sde_gpu": _exponential(sde.dpmpp_3m_sde, "brownian on device"),
    "ddpm": Sampler(euler.ddpm, "step"),
    "lcm": Sampler(euler.lcm, "step", flow=flow.by_ratio(euler.lcm)),
    "lcm_upscale": Sampler(euler.lcm_upscale, resizes=True, flow=flow.by_ratio(euler.lcm_upscale)),
    "ipndm": Sampler(multistep.ipndm),
    "ipndm_v": Sampler(multistep.ipndm_v),
    "deis": Sampler(multistep.deis),
    "res_multistep": Sampler(second_order.res_multistep),
    "res_multistep_cfg_pp": Sampler(second_order.res_multistep_cfg_pp, pair=True),
    "res_multistep_ancestral": Sampler(second_order.res_multistep_ancestral, "step"),
    "res_multistep_ancestral_cfg_pp": Sampler(
        second_order.res_multistep_ancestral_cfg_pp, "step", pair=True
    ),
    "gradient_estimation": Sampler(second_order.gradient_estimation),
    "gradient_estimation_cfg_pp": Sampler(second_order.gradient_estimation_cfg_pp, pair=True),
    "er_sde": _exponential(seeds.er_sde, "step"),
    "seeds_2": _exponential(seeds.seeds_2, "step"),
    "seeds_3": _exponential(seeds.seeds_3, "step"),
    "sa_solver": _exponential(sa_solver.sa_solver, "step", tau=True),
    "sa_solver_pece": _exponential(sa_solver.sa_solver_pece, "step", tau=True),
    "ddim": Sampler(euler.euler, mask_noise="fresh"),
    "uni_pc": Sampler(unipc.uni_pc, may_rest=True),
    "uni_pc_bh2": Sampler(unipc.uni_pc_bh2, may_rest=True),
}
