"""Noise by seed agrees with the reference's, and leaves the global generator alone."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.compatibility import VARIABLE, compatibility_mode
from latentloom.diffusion.errors import SettingError
from latentloom.diffusion.sampling.noise import brownian_noise, start_noise, step_noise
from tests.closeness import ROUNDING, largest_error
from tests.golden_files import Goldens

GOLDENS = Goldens("direct/noise.safetensors")
SIZE = (4, 8, 12)
SIGMA = torch.tensor(1.0)


@pytest.mark.parametrize("seed", [0, 42, 2**32, 2**63 + 5, 2**64 - 1])
def test_a_seed_gives_the_same_noise(seed: int) -> None:
    assert largest_error(start_noise((1, *SIZE), seed), GOLDENS[f"seed{seed}.b1"]) <= ROUNDING


def test_a_batch_is_drawn_at_once() -> None:
    assert largest_error(start_noise((3, *SIZE), 42), GOLDENS["seed42.b3"]) <= ROUNDING


@pytest.mark.parametrize(
    ("name", "index"), [("inds_1", [1]), ("inds_2_0_2", [2, 0, 2]), ("inds_fixed0", [0, 0])]
)
def test_members_of_a_batch_can_be_drawn_again(name: str, index: list[int]) -> None:
    got = start_noise((len(index), *SIZE), 42, index)
    assert largest_error(got, GOLDENS[f"seed42.{name}"]) <= ROUNDING


def test_step_noise_of_the_older_mode_starts_like_the_run() -> None:
    draw = step_noise(torch.zeros(1, *SIZE), 42, "0.3.64")
    assert largest_error(draw(SIGMA, SIGMA), GOLDENS["default_sampler42.draw0"]) <= ROUNDING
    assert largest_error(draw(SIGMA, SIGMA), GOLDENS["default_sampler42.draw1"]) <= ROUNDING


def test_step_noise_of_the_current_mode_differs_from_the_start() -> None:
    draw = step_noise(torch.zeros(1, *SIZE), 42)
    assert torch.equal(draw(SIGMA, SIGMA), start_noise((1, *SIZE), 43))


@pytest.mark.parametrize("cpu", [True, False])
def test_the_brownian_path_is_the_same(cpu: bool) -> None:
    sigmas = GOLDENS["brownian.sigmas"]
    draw = brownian_noise(torch.zeros(1, *SIZE), sigmas, 42, cpu)
    for step in range(5):
        expected = GOLDENS[f"brownian42.cpu{int(cpu)}.step{step}"]
        assert largest_error(draw(sigmas[step], sigmas[step + 1]), expected) <= ROUNDING


@pytest.mark.parametrize("cpu", [True, False])
def test_the_brownian_path_does_not_depend_on_the_steps(cpu: bool) -> None:
    sigmas = GOLDENS["brownian.sigmas"]
    draw = brownian_noise(torch.zeros(1, *SIZE), sigmas, 42, cpu)
    middle = (sigmas[0] * sigmas[1]) ** 0.5
    expected = GOLDENS[f"brownian42.cpu{int(cpu)}.mid0"]
    assert largest_error(draw(sigmas[0], middle), expected) <= ROUNDING


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    start_noise((1, *SIZE), 1)
    step_noise(torch.zeros(1, *SIZE), 1)(SIGMA, SIGMA)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_golden_was_compared(request: pytest.FixtureRequest) -> None:
    GOLDENS.assert_all_read(request)


@pytest.mark.parametrize(("value", "mode"), [("", "current"), ("current", "current")])
def test_the_current_mode_is_the_default(
    value: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert compatibility_mode() == mode


def test_an_unknown_mode_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.4")
    with pytest.raises(SettingError, match=r"expected current or 0\.3\.64, got '0\.4'"):
        compatibility_mode()
