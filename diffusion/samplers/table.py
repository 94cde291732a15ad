"""Samplers by the names that graph files use, and the noise that each draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from . import dpm, euler, multistep, sde, unipc
from .step import SamplerFunction

NoiseKind = Literal["none", "step", "brownian", "brownian on device"]


@dataclass(frozen=True)
class Sampler:
    """A sampler and what it must be given.

    Attributes:
        noise: which noise it draws; see `diffusion.noise`.
        mask_noise: what the masked-out part is noised with: the run's own noise, or fresh noise
            drawn once with the seed + 1.
    """

    function: SamplerFunction
    noise: NoiseKind = "none"
    mask_noise: Literal["own", "fresh"] = "own"


SAMPLER_TABLE: dict[str, Sampler] = {
    "euler": Sampler(euler.euler),
    "euler_ancestral": Sampler(euler.euler_ancestral, "step"),
    "heun": Sampler(euler.heun),
    "dpm_2": Sampler(dpm.dpm_2),
    "dpm_2_ancestral": Sampler(dpm.dpm_2_ancestral, "step"),
    "lms": Sampler(multistep.lms),
    "dpmpp_2s_ancestral": Sampler(dpm.dpmpp_2s_ancestral, "step"),
    "dpmpp_sde": Sampler(sde.dpmpp_sde, "brownian"),
    "dpmpp_sde_gpu": Sampler(sde.dpmpp_sde, "brownian on device"),
    "dpmpp_2m": Sampler(dpm.dpmpp_2m),
    "dpmpp_2m_sde": Sampler(sde.dpmpp_2m_sde, "brownian"),
    "dpmpp_2m_sde_gpu": Sampler(sde.dpmpp_2m_sde, "brownian on device"),
    "dpmpp_2m_sde_heun": Sampler(sde.dpmpp_2m_sde_heun, "brownian"),
    "dpmpp_2m_sde_heun_gpu": Sampler(sde.dpmpp_2m_sde_heun, "brownian on device"),
    "dpmpp_3m_sde": Sampler(sde.dpmpp_3m_sde, "brownian"),
    "dpmpp_3m_sde_gpu": Sampler(sde.dpmpp_3m_sde, "brownian on device"),
    "ddpm": Sampler(euler.ddpm, "step"),
    "lcm": Sampler(euler.lcm, "step"),
    "ipndm": Sampler(multistep.ipndm),
    "deis": Sampler(multistep.deis),
    "ddim": Sampler(euler.euler, mask_noise="fresh"),
    "uni_pc": Sampler(unipc.uni_pc),
    "uni_pc_bh2": Sampler(unipc.uni_pc_bh2),
}
