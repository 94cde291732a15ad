"""Levels by formula: closed forms, published tables, cuts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.schedules import schedules, sigmas
from latentloom.diffusion.schedules.model_sampling import ModelSampling

SAMPLING = ModelSampling()
ENDS = (0.03, 14.6)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize(
    "make",
    [
        lambda steps: sigmas.polynomial(steps, *ENDS, 7.0),
        lambda steps: sigmas.exponential(steps, *ENDS),
        lambda steps: sigmas.polyexponential(steps, *ENDS, 1.3),
        lambda steps: sigmas.variance_preserving(steps, 19.9, 0.1, 1e-3),
        lambda steps: sigmas.align_your_steps("SDXL", steps, 1.0),
    ],
)
def test_levels_fall_from_the_start_to_0(make: object, steps: int) -> None:
    assert callable(make)
    levels: Tensor = make(steps)
    assert levels.dtype == torch.float32
    assert len(levels) == steps + 1
    assert levels[-1] == 0
    assert bool((levels.diff() <= 0).all())


def test_a_polyexponential_of_power_1_is_exponential() -> None:
    expected = sigmas.exponential(9, *ENDS)
    torch.testing.assert_close(sigmas.polyexponential(9, *ENDS, 1.0), expected)


def test_the_schedules_of_a_model_are_the_formulas_at_its_ends() -> None:
    low, high = SAMPLING.sigma_min, SAMPLING.sigma_max
    torch.testing.assert_close(sigmas.polynomial(9, low, high, 7.0), schedules.karras(SAMPLING, 9))
    torch.testing.assert_close(sigmas.exponential(9, low, high), schedules.exponential(SAMPLING, 9))


def test_a_variance_preserving_level_is_the_odds_of_its_alpha_bar() -> None:
    levels = sigmas.variance_preserving(2, 19.9, 0.1, 0.5)
    alpha_bars = [math.exp(-(19.9 * t**2 / 2 + 0.1 * t)) for t in (1.0, 0.5)]
    expected = [math.sqrt((1 - bar) / bar) for bar in alpha_bars]
    torch.testing.assert_close(levels[:2], torch.tensor(expected))


def test_laplace_is_symmetric_in_log_sigma_about_its_middle() -> None:
    levels = sigmas.laplace(11, 1e-9, 1e9, 0.7, 0.5).log()
    torch.testing.assert_close(levels + levels.flip(0), torch.full((11,), 1.4))
    assert float(levels[5]) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_published_tables_are_diffusers() -> None:
    from diffusers.schedulers import AysSchedules

    for kind, name in (("SD1", "StableDiffusion"), ("SDXL", "StableDiffusionXL")):
        published = torch.tensor(AysSchedules[f"{name}Sigmas"])
        ours = sigmas.align_your_steps(kind, 10, 1.0)
        # diffusers prints them to three digits, from rounded timesteps.
        torch.testing.assert_close(ours, published, atol=4e-3, rtol=1e-3)


def test_a_table_keeps_its_own_levels_when_it_is_stretched() -> None:
    table = sigmas.align_your_steps("SD1", 10, 1.0)
    finer = sigmas.align_your_steps("SD1", 20, 1.0)
    torch.testing.assert_close(finer[::2], table)
    middle = (table[0] * table[1]).sqrt()
    torch.testing.assert_close(finer[1], middle)


def test_denoise_of_a_table_leaves_fewer_steps() -> None:
    table = sigmas.align_your_steps("SD1", 10, 1.0)
    assert torch.equal(sigmas.align_your_steps("SD1", 10, 0.34), table[-4:])
    assert len(sigmas.align_your_steps("SD1", 10, 0.0)) == 0


def test_turbo_levels_are_those_of_every_hundredth_timestep() -> None:
    levels = sigmas.sd_turbo(SAMPLING, 10, 1.0)
    torch.testing.assert_close(levels[:-1], SAMPLING.sigmas[99::100].flip(0))
    assert torch.equal(sigmas.sd_turbo(SAMPLING, 2, 0.5)[:-1], levels[5:7])


@pytest.mark.parametrize("step", [0, 3, 10, 99])
def test_a_split_shares_one_level_and_joins_again(step: int) -> None:
    levels = sigmas.exponential(10, *ENDS)
    high, low = sigmas.split(levels, step)
    assert torch.equal(torch.cat([high, low[1:]]), levels)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_laplace_levels_are_as_many_as_asked_for_and_stay_within_their_ends(steps: int) -> None:
    levels = sigmas.laplace(steps, *ENDS, 0.0, 0.5)
    assert len(levels) == steps
    assert bool((levels.diff() <= 0).all())
    assert float(levels[0]) == pytest.approx(14.6)
    assert steps == 1 or float(levels[-1]) == pytest.approx(0.03)


@pytest.mark.parametrize(("denoise", "steps"), [(0.26, 3), (0.5, 5), (1.0, 10)])
def test_a_split_by_denoise_counts_steps(denoise: float, steps: int) -> None:
    levels = sigmas.exponential(10, *ENDS)
    high, low = sigmas.split_denoise(levels, denoise)
    assert len(low) - 1 == steps
    assert torch.equal(torch.cat([high, low[1:]]), levels)


def test_a_split_for_no_steps_has_an_empty_first_part() -> None:
    levels = sigmas.exponential(10, *ENDS)
    high, low = sigmas.split_denoise(levels, 0.04)
    assert len(high) == 0
    assert low.tolist() == [0.0]


def test_flipping_turns_round_and_leaves_no_0_in_front() -> None:
    levels = sigmas.exponential(3, *ENDS)
    flipped = sigmas.flip(levels)
    assert torch.equal(flipped[1:], levels[:-1].flip(0))
    assert float(flipped[0]) == pytest.approx(1e-4)
    assert levels[-1] == 0
    assert len(sigmas.flip(torch.empty(0))) == 0


def test_another_first_level_leaves_the_given_ones() -> None:
    levels = sigmas.exponential(3, *ENDS)
    changed = sigmas.with_first(levels, 136.0)
    assert changed[0] == 136
    assert torch.equal(changed[1:], levels[1:])
    assert float(levels[0]) == pytest.approx(14.6)
