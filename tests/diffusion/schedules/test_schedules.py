"""Schedules agree with the reference's, number for number."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from latentloom.diffusion.errors import ScheduleError
from latentloom.diffusion.samplers.table import SAMPLER_TABLE
from latentloom.diffusion.schedules.flow import FlowSampling, FluxSampling
from latentloom.diffusion.schedules.model_sampling import ContinuousSampling, ModelSampling
from latentloom.diffusion.schedules.names import SCHEDULERS
from latentloom.diffusion.schedules.schedules import SCHEDULES, calculate_sigmas
from tests.paths import ROOT

GOLDENS: dict[str, Any] = json.loads((ROOT / "tests" / "goldens/direct/sigmas.json").read_text())
SAMPLINGS = {
    "sd15_eps": ModelSampling(),
    "sd2_v": ModelSampling("v"),
    "v_zsnr": ModelSampling("v", zsnr=True),
    "edm": ContinuousSampling("edm", sigma_data=0.5, high=80.0),
    "flow_shift3": FlowSampling(shift=3.0),
    "flux_1.15": FluxSampling(shift=math.exp(1.15), multiplier=1.0, timesteps=10_000),
}
# One step of kl_optimal is 0/0 in the reference; ours starts at the highest sigma.
GUARDED = "kl_optimal/1"


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_count_of_steps_gives_the_same_sigmas(name: str, scheduler: str) -> None:
    cases = {
        key: sigmas
        for key, sigmas in GOLDENS["calculate_sigmas"].items()
        if key.startswith(f"{name}/{scheduler}/") and not key.endswith(GUARDED)
    }
    got = {
        key: calculate_sigmas(SAMPLINGS[name], scheduler, int(key.split("/")[2])).tolist()
        for key in cases
    }
    assert len(cases) >= 10
    assert {key.split("/")[0] for key in GOLDENS["calculate_sigmas"]} == set(SAMPLINGS)
    assert got == {key: pytest.approx(sigmas, rel=5e-6) for key, sigmas in cases.items()}


@pytest.mark.parametrize("key", GOLDENS["ksampler_sd15"])
def test_samplers_and_denoise_choose_the_same_sigmas(key: str) -> None:
    sampler, scheduler, steps, denoise = key.split("/")
    discard = SAMPLER_TABLE[sampler].discards_penultimate
    got = calculate_sigmas(
        ModelSampling(), scheduler, int(steps), float(denoise), discard_penultimate=discard
    )
    assert got.tolist() == pytest.approx(GOLDENS["ksampler_sd15"][key], rel=5e-6)


@pytest.mark.parametrize("denoise", [0.99, 0.97])
def test_a_stretch_to_the_same_count_takes_the_last_steps(denoise: float) -> None:
    # int(30 / 0.99) is 30 again, and ddim_uniform gives 31 steps for 30.
    full = calculate_sigmas(ModelSampling(), "ddim_uniform", 30)
    assert len(full) == 32
    cut = calculate_sigmas(ModelSampling(), "ddim_uniform", 30, denoise=denoise)
    assert torch.equal(cut, full[-31:])


def test_one_step_of_kl_optimal_is_finite() -> None:
    assert calculate_sigmas(ModelSampling(), "kl_optimal", 1).isfinite().all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
def test_sigmas_fall_to_zero(scheduler: str, steps: int) -> None:
    sigmas = calculate_sigmas(ModelSampling(), scheduler, steps)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert sigmas.dtype == torch.float32


def test_denoise_zero_has_no_sigmas() -> None:
    assert len(calculate_sigmas(ModelSampling(), "normal", 20, denoise=0.0)) == 0


def test_an_unknown_schedule_is_a_typed_error() -> None:
    with pytest.raises(ScheduleError, match="got 'linear'"):
        calculate_sigmas(ModelSampling(), "linear", 5)


def test_the_names_are_those_of_the_table() -> None:
    assert tuple(SCHEDULES) == SCHEDULERS
