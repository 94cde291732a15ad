"""Sigmas by formula: closed forms, published tables, splits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.schedules import schedules
from latentloom.diffusion.schedules import sigmas as formulas
from latentloom.diffusion.schedules.model_sampling import ModelSampling

SAMPLING = ModelSampling()
ENDS = (0.03, 14.6)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize(
    "make",
    [
        lambda steps: formulas.polynomial(steps, *ENDS, 7.0),
        lambda steps: formulas.exponential(steps, *ENDS),
        lambda steps: formulas.polyexponential(steps, *ENDS, 1.3),
        lambda steps: formulas.variance_preserving(steps, 19.9, 0.1, 1e-3),
        lambda steps: formulas.align_your_steps("SDXL", steps, 1.0),
    ],
)
def test_sigmas_fall_from_the_start_to_0(make: object, steps: int) -> None:
    assert callable(make)
    sigmas: Tensor = make(steps)
    assert sigmas.dtype == torch.float32
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() <= 0).all())


def test_a_polyexponential_of_power_1_is_exponential() -> None:
    expected = formulas.exponential(9, *ENDS)
    torch.testing.assert_close(formulas.polyexponential(9, *ENDS, 1.0), expected)


def test_the_schedules_of_a_model_are_the_formulas_at_its_ends() -> None:
    low, high = SAMPLING.sigma_min, SAMPLING.sigma_max
    torch.testing.assert_close(
        formulas.polynomial(9, low, high, 7.0), schedules.karras(SAMPLING, 9)
    )
    torch.testing.assert_close(
        formulas.exponential(9, low, high), schedules.exponential(SAMPLING, 9)
    )


def test_a_variance_preserving_sigma_is_the_odds_of_its_alpha_bar() -> None:
    sigmas = formulas.variance_preserving(2, 19.9, 0.1, 0.5)
    alpha_bars = [math.exp(-(19.9 * t**2 / 2 + 0.1 * t)) for t in (1.0, 0.5)]
    expected = [math.sqrt((1 - bar) / bar) for bar in alpha_bars]
    torch.testing.assert_close(sigmas[:2], torch.tensor(expected))


def test_laplace_is_symmetric_in_log_sigma_about_its_middle() -> None:
    sigmas = formulas.laplace(11, 1e-9, 1e9, 0.7, 0.5).log()
    torch.testing.assert_close(sigmas + sigmas.flip(0), torch.full((11,), 1.4))
    assert float(sigmas[5]) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_published_tables_are_diffusers() -> None:
    from diffusers.schedulers import AysSchedules

    for kind, name in (("SD1", "StableDiffusion"), ("SDXL", "StableDiffusionXL")):
        published = torch.tensor(AysSchedules[f"{name}Sigmas"])
        ours = formulas.align_your_steps(kind, 10, 1.0)
        # diffusers prints them to three digits, from rounded timesteps.
        torch.testing.assert_close(ours, published, atol=4e-3, rtol=1e-3)


def test_a_longer_table_includes_the_published_sigmas() -> None:
    table = formulas.align_your_steps("SD1", 10, 1.0)
    finer = formulas.align_your_steps("SD1", 20, 1.0)
    torch.testing.assert_close(finer[::2], table)
    middle = (table[0] * table[1]).sqrt()
    torch.testing.assert_close(finer[1], middle)


def test_denoise_of_a_table_leaves_fewer_steps() -> None:
    table = formulas.align_your_steps("SD1", 10, 1.0)
    assert torch.equal(formulas.align_your_steps("SD1", 10, 0.34), table[-4:])
    assert len(formulas.align_your_steps("SD1", 10, 0.0)) == 0


def test_turbo_sigmas_are_those_of_every_hundredth_timestep() -> None:
    sigmas = formulas.sd_turbo(SAMPLING, 10, 1.0)
    torch.testing.assert_close(sigmas[:-1], SAMPLING.sigmas[99::100].flip(0))
    assert torch.equal(formulas.sd_turbo(SAMPLING, 2, 0.5)[:-1], sigmas[5:7])


@pytest.mark.parametrize("step", [0, 3, 10, 99])
def test_the_parts_of_a_split_share_one_sigma(step: int) -> None:
    sigmas = formulas.exponential(10, *ENDS)
    high, low = formulas.split(sigmas, step)
    assert torch.equal(torch.cat([high, low[1:]]), sigmas)


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_laplace_gives_as_many_sigmas_as_steps_between_its_ends(steps: int) -> None:
    sigmas = formulas.laplace(steps, *ENDS, 0.0, 0.5)
    assert len(sigmas) == steps
    assert bool((sigmas.diff() <= 0).all())
    assert float(sigmas[0]) == pytest.approx(14.6)
    assert steps == 1 or float(sigmas[-1]) == pytest.approx(0.03)


@pytest.mark.parametrize(("denoise", "steps"), [(0.26, 3), (0.5, 5), (1.0, 10)])
def test_a_split_by_denoise_counts_steps(denoise: float, steps: int) -> None:
    sigmas = formulas.exponential(10, *ENDS)
    high, low = formulas.split_denoise(sigmas, denoise)
    assert len(low) - 1 == steps
    assert torch.equal(torch.cat([high, low[1:]]), sigmas)


def test_a_split_for_no_steps_has_an_empty_first_part() -> None:
    sigmas = formulas.exponential(10, *ENDS)
    high, low = formulas.split_denoise(sigmas, 0.04)
    assert len(high) == 0
    assert low.tolist() == [0.0]


def test_flipped_sigmas_do_not_start_at_0() -> None:
    sigmas = formulas.exponential(3, *ENDS)
    flipped = formulas.flip(sigmas)
    assert torch.equal(flipped[1:], sigmas[:-1].flip(0))
    assert float(flipped[0]) == pytest.approx(1e-4)
    assert sigmas[-1] == 0
    assert len(formulas.flip(torch.empty(0))) == 0


def test_replacing_the_first_sigma_does_not_modify_the_argument() -> None:
    sigmas = formulas.exponential(3, *ENDS)
    changed = formulas.replace_first(sigmas, 136.0)
    assert changed[0] == 136
    assert torch.equal(changed[1:], sigmas[1:])
    assert float(sigmas[0]) == pytest.approx(14.6)
