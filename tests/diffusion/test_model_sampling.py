"""The tables and conversions agree with the reference's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffusion.model_sampling import ModelSampling

GOLDENS = load_file(Path(__file__).parent.parent / "goldens/direct/model_sampling.safetensors")
CASES = {
    "sd15_eps": ModelSampling(),
    "sd2_v": ModelSampling("v"),
    "v_zsnr": ModelSampling("v", zsnr=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_is_bit_equal(name: str) -> None:
    assert torch.equal(CASES[name].sigmas, GOLDENS[f"{name}.sigmas"])


@pytest.mark.parametrize("name", CASES)
def test_the_nearest_timestep_is_the_same(name: str) -> None:
    sigmas, timesteps = GOLDENS[f"{name}.timestep_of"]
    assert torch.equal(CASES[name].timestep(sigmas).float(), timesteps)


@pytest.mark.parametrize("name", CASES)
def test_percents_give_the_same_levels(name: str) -> None:
    got = [CASES[name].percent_to_sigma(index / 20) for index in range(21)]
    assert got == pytest.approx(GOLDENS[f"{name}.percent_to_sigma"].tolist(), rel=1e-6)


def test_a_level_between_two_is_linear_in_its_logarithm() -> None:
    sampling = ModelSampling()
    middle = sampling.sigma(torch.tensor(10.5))
    assert float(middle) == pytest.approx(float((sampling.sigmas[10] * sampling.sigmas[11]) ** 0.5))
    assert float(sampling.sigma(torch.tensor(2000.0))) == pytest.approx(sampling.sigma_max)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_a_perfect_network_gives_the_picture_back(prediction: str) -> None:
    sampling = ModelSampling(prediction)  # type: ignore[arg-type]
    picture, noise, sigma = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor(3.0)
    alpha = 1 / (1 + sigma**2) ** 0.5
    outputs = {"eps": noise, "v": alpha * noise - sigma * alpha * picture, "x0": picture}
    x = picture + sigma * noise
    got = sampling.denoised(x, sigma, outputs[prediction])
    assert torch.allclose(got, picture, atol=1e-5)


def test_the_start_is_pure_noise_only_at_the_tables_end() -> None:
    sampling = ModelSampling()
    assert sampling.is_full(torch.tensor(14.6146))
    assert not sampling.is_full(torch.tensor(14.0))
