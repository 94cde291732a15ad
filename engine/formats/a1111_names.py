"""Names of samplers, schedules and upscalers: those of A1111, and ComfyUI's for the same thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SAMPLERS: Mapping[str, str] = {
    "euler": "euler", "euler a": "euler_ancestral", "lms": "lms", "heun": "heun",
    "heun++": "heunpp2", "dpm2": "dpm_2", "dpm2 a": "dpm_2_ancestral",
    "dpm++ 2s a": "dpmpp_2s_ancestral", "dpm++ 2m": "dpmpp_2m", "dpm++ sde": "dpmpp_sde",
    "dpm++ 2m sde": "dpmpp_2m_sde", "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m sde": "dpmpp_3m_sde", "dpm fast": "dpm_fast", "dpm adaptive": "dpm_adaptive",
    "ddim": "ddim", "ddpm": "ddpm", "unipc": "uni_pc", "lcm": "lcm", "deis": "deis",
    "ipndm": "ipndm", "ipndm_v": "ipndm_v", "res multistep": "res_multistep",
    "er sde": "er_sde", "sa solver": "sa_solver", "gradient estimation": "gradient_estimation",
    "euler cfg++": "euler_cfg_pp", "euler a cfg++": "euler_ancestral_cfg_pp",
    "dpm++ 2m cfg++": "dpmpp_2m_cfg_pp", "dpm++ 2s a cfg++": "dpmpp_2s_ancestral_cfg_pp",
}  # fmt: skip
SCHEDULES: Mapping[str, str] = {
    "uniform": "normal", "normal": "normal", "karras": "karras", "exponential": "exponential",
    "sgm uniform": "sgm_uniform", "simple": "simple", "ddim": "ddim_uniform", "beta": "beta",
    "kl optimal": "kl_optimal", "linear quadratic": "linear_quadratic",
}  # fmt: skip
# Of the samplers whose schedule `Automatic` is not the uniform one.
AUTOMATIC: Mapping[str, str] = {
    "dpm2": "karras", "dpm2 a": "karras", "dpm++ 2m": "karras", "dpm++ sde": "karras",
    "dpm++ 2s a": "karras", "dpm++ 2m sde": "exponential", "dpm++ 2m sde heun": "exponential",
    "dpm++ 3m sde": "exponential", "ddim": "ddim_uniform",
}  # fmt: skip
LATENT_UPSCALERS: Mapping[str, str] = {
    "latent": "bilinear", "latent (bicubic)": "bicubic", "latent (nearest)": "nearest-exact",
    "latent (nearest-exact)": "nearest-exact",
}  # fmt: skip
IMAGE_UPSCALERS: Mapping[str, str] = {"lanczos": "lanczos", "nearest": "nearest-exact"}
# Model files under the names that A1111 shows for them.
UPSCALE_MODELS: Mapping[str, str] = {
    "r-esrgan 4x+": "RealESRGAN_x4plus", "r-esrgan 4x+ anime6b": "RealESRGAN_x4plus_anime_6B",
    "r-esrgan 2x+": "RealESRGAN_x2plus", "esrgan_4x": "ESRGAN_4x", "swinir 4x": "SwinIR_4x",
}  # fmt: skip
DEFAULT_SAMPLER, DEFAULT_SCHEDULE = "euler", "normal"
WEIGHTS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


class Sampling(NamedTuple):
    """A sampler and a schedule by ComfyUI's names; empty where it has none."""

    sampler: str
    schedule: str


def sampling(name: str, schedule: str = "") -> Sampling:
    """Return the sampler and the schedule of A1111's names.

    Up to A1111 1.8, the name of the sampler ended in that of the schedule.

    >>> sampling("DPM++ 2M Karras")
    Sampling(sampler='dpmpp_2m', schedule='karras')
    >>> sampling("DPM++ SDE", "Automatic").schedule
    'karras'
    """
    base, chosen = name.strip().lower(), schedule.strip().lower()
    if not chosen:
        suffix = next((end for end in SCHEDULES if base.endswith(f" {end}")), "")
        if base not in SAMPLERS and suffix:
            base, chosen = base.removesuffix(suffix).strip(), suffix
    sampler = SAMPLERS.get(base, "")
    if chosen == "automatic":
        return Sampling(sampler, AUTOMATIC.get(base, DEFAULT_SCHEDULE))
    return Sampling(sampler, SCHEDULES.get(chosen, "") if chosen else DEFAULT_SCHEDULE)


def file_name(name: str, installed: Iterable[str], extension: str = ".safetensors") -> str:
    """Return the installed file of a name without folder or extension, else the likely name."""
    wanted, likely = _stem(name), name if name.lower().endswith(WEIGHTS) else f"{name}{extension}"
    return next((file for file in installed if _stem(file) == wanted), likely)


def _stem(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2].lower()
    return next((base.removesuffix(end) for end in WEIGHTS if base.endswith(end)), base)
