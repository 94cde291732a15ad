"""The published schedules of GITS, and those interpolated between them."""

from __future__ import annotations

import pytest
import torch

import latentloom
from latentloom.diffusion.schedules.gits import SCHEDULES, SIGMAS, gits
from latentloom.diffusion.schedules.model_sampling import ModelSampling

COEFFICIENTS = [hundredths / 100 for hundredths in SCHEDULES]
MISSING = {(80, 16), (80, 18), (80, 20), (115, 19)}


def test_the_sigmas_are_the_models_at_even_times() -> None:
    sampling = ModelSampling()
    times = torch.linspace(999, 0, 101)
    even = torch.stack([sampling.sigma(time) for time in times])
    errors = (torch.tensor(SIGMAS)[:, None] / even - 1).abs()
    assert errors.min(dim=1).values.max() < 3e-5
    assert errors.argmin(dim=1).diff().min() > 0


def test_there_is_a_schedule_for_each_count_of_steps_but_four() -> None:
    assert [*SCHEDULES] == [*range(80, 155, 5)]
    published = {
        (key, len(word) // 2 + 1) for key, row in SCHEDULES.items() for word in row.split()
    }
    assert {(key, steps) for key in SCHEDULES for steps in range(2, 21)} - published == MISSING


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("steps", [2, 3, 10, 16, 19, 20, 21, 50, 1000])
def test_sigmas_fall_from_the_first_to_0(coefficient: float, steps: int) -> None:
    sigmas = gits(coefficient, steps, 1.0)
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == steps + 1
    assert float(sigmas[0]) == pytest.approx(SIGMAS[0])
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())


def test_a_larger_coefficient_has_more_sigmas_near_0() -> None:
    middles = [float(gits(coefficient, 10, 1.0)[5]) for coefficient in COEFFICIENTS]
    assert middles == sorted(middles, reverse=True)
    assert middles[0] / middles[-1] > 20


@pytest.mark.parametrize(("denoise", "count"), [(1.0, 11), (0.5, 6), (0.04, 1), (0.0, 0)])
def test_denoise_takes_the_last_steps(denoise: float, count: int) -> None:
    sigmas = gits(1.2, 10, denoise)
    assert len(sigmas) == count
    assert torch.equal(sigmas, gits(1.2, 10, 1.0)[11 - count :])


def test_an_unpublished_coefficient_is_rejected_before_anything_runs() -> None:
    builder = latentloom.build()
    builder.GITSScheduler(coeff=1.23)
    problems = [str(problem) for problem in latentloom.check(builder.graph)]
    assert any("a multiple of 0.05 from 0.8 to 1.5, got 1.23" in problem for problem in problems)
