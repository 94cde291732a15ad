"""The tables and conversions agree with the reference's."""

from __future__ import annotations

import math

import pytest
import torch

from latentloom.diffusion.schedules.flow import FlowSampling, FluxSampling, flux_shift
from latentloom.diffusion.schedules.model_sampling import (
    ContinuousSampling,
    DistilledSampling,
    ModelSampling,
    consistency_weights,
)
from tests.golden_files import Goldens

GOLDENS = Goldens("direct/model_sampling.safetensors")
FLUX = FluxSampling(shift=flux_shift(1024, 1024, 0.5, 1.15), multiplier=1.0, timesteps=10_000)
CASES = {
    "sd15_eps": ModelSampling(),
    "sd2_v": ModelSampling("v"),
    "v_zsnr": ModelSampling("v", zsnr=True),
    "edm": ContinuousSampling("edm", sigma_data=0.5, high=80.0),
    "flow_shift3": FlowSampling(shift=3.0),
    "flux_1.15": FluxSampling(
        shift=flux_shift(1024, 1024, 0.5, 1.15), multiplier=1.0, timesteps=10_000
    ),
}


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"flux_1.15"}))
def test_the_table_is_the_references(name: str) -> None:
    torch.testing.assert_close(CASES[name].sigmas, GOLDENS[f"{name}.sigmas"], rtol=1e-6, atol=0)


def test_the_table_of_a_flux_is_equal_but_for_rounding() -> None:
    """The reference writes the shift as exp(mu) / (exp(mu) + 1/t - 1)."""
    name = "flux_1.15"
    assert torch.allclose(CASES[name].sigmas, GOLDENS[f"{name}.sigmas"], rtol=1e-6)


def test_sigmas_of_fractional_timesteps_are_the_references() -> None:
    timesteps = torch.linspace(-5, 1005, 41)
    assert torch.allclose(ModelSampling().sigma(timesteps), GOLDENS["sd15_eps.sigma_of_frac_t"])


def test_a_flow_takes_image_and_noise_apart() -> None:
    sampling, sigma = FlowSampling(), torch.tensor(0.3)
    image, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    x = sampling.add_noise(image, noise, sigma, max_denoise=False)
    assert torch.equal(sampling.scale_input(x, sigma), x)
    assert torch.allclose(sampling.calculate_denoised(x, sigma, noise - image), image, atol=1e-6)
    assert torch.equal(sampling.add_noise(image, noise, torch.tensor(1.0), max_denoise=True), noise)


def test_a_flow_that_stops_early_gives_its_image_at_full_strength() -> None:
    sampling, sigma, image = FlowSampling(), torch.tensor(0.3), torch.randn(2, 4, 3, 3)
    left = sampling.add_noise(image, torch.zeros_like(image), sigma, max_denoise=False)
    assert torch.allclose(sampling.undo_noise_scaling(left, sigma), image, atol=1e-6)


def test_a_fluxs_shift_grows_with_the_image() -> None:
    shifts = [flux_shift(side, side, 0.5, 1.15) for side in (256, 512, 1024)]
    assert shifts == sorted(shifts)
    assert shifts[0] == pytest.approx(math.exp(0.5))
    assert shifts[2] == pytest.approx(math.exp(1.15))


@pytest.mark.parametrize("name", CASES)
def test_the_nearest_timestep_is_the_same(name: str) -> None:
    sigmas, timesteps = GOLDENS[f"{name}.timestep_of"]
    torch.testing.assert_close(CASES[name].timestep(sigmas).float(), timesteps, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_percents_give_the_same_sigmas(name: str) -> None:
    got = [CASES[name].percent_to_sigma(index / 20) for index in range(21)]
    assert got == pytest.approx(GOLDENS[f"{name}.percent_to_sigma"].tolist(), rel=1e-6)


def test_a_sigma_between_two_is_linear_in_its_logarithm() -> None:
    sampling = ModelSampling()
    middle = sampling.sigma(torch.tensor(10.5))
    assert float(middle) == pytest.approx(float((sampling.sigmas[10] * sampling.sigmas[11]) ** 0.5))
    assert float(sampling.sigma(torch.tensor(2000.0))) == pytest.approx(sampling.sigma_max)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_a_perfect_network_gives_the_image_back(prediction: str) -> None:
    sampling = ModelSampling(prediction)  # type: ignore[arg-type]
    image, noise, sigma = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor(3.0)
    alpha = 1 / (1 + sigma**2) ** 0.5
    outputs = {"eps": noise, "v": alpha * noise - sigma * alpha * image, "x0": image}
    x = image + sigma * noise
    got = sampling.calculate_denoised(x, sigma, outputs[prediction])
    assert torch.allclose(got, image, atol=1e-5)


def test_the_start_is_pure_noise_only_at_the_tables_end() -> None:
    sampling = ModelSampling()
    assert sampling.is_max_denoise(torch.tensor(14.6146))
    assert not sampling.is_max_denoise(torch.tensor(14.0))


def test_a_distilled_model_knows_every_twentieth_timestep() -> None:
    full, distilled = ModelSampling(), DistilledSampling("lcm")
    assert torch.equal(distilled.sigmas, full.sigmas[19::20])
    timesteps = distilled.timestep(distilled.sigmas)
    assert timesteps.tolist() == list(range(19, 1000, 20))
    assert torch.allclose(distilled.sigma(timesteps), distilled.sigmas, rtol=1e-6)
    assert distilled.sigma_max == full.sigma_max


def test_a_consistency_models_boundary_is_diffusers() -> None:
    from diffusers import LCMScheduler

    scheduler = LCMScheduler()
    for timestep in (0, 19, 499, 999):
        expected = scheduler.get_scalings_for_boundary_condition_discrete(timestep)
        got = consistency_weights(torch.tensor(timestep))
        assert [float(value) for value in got] == pytest.approx(
            [float(value) for value in expected]
        )


def test_consistency_at_noise_is_the_networks_prediction() -> None:
    sampling, sigma = DistilledSampling("lcm"), torch.tensor(14.6)
    x, output = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    expected = x - sigma * output
    assert torch.allclose(sampling.calculate_denoised(x, sigma, output), expected, atol=1e-4)


def test_edm_gives_an_image_back_from_its_mixture() -> None:
    sampling = ContinuousSampling("edm", sigma_data=0.5)
    image, noise, sigma = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3), torch.tensor(2.0)
    x = image + sigma * noise
    total = sigma**2 + 0.25
    output = (image - x * 0.25 / total) * total**0.5 / (sigma * 0.5)
    assert torch.allclose(sampling.calculate_denoised(x, sigma, output), image, atol=1e-5)


def test_image_to_image_sees_x_as_it_is() -> None:
    x, sigma = torch.randn(1, 4, 2, 2), torch.tensor(3.0)
    sampling = ModelSampling("img_to_img")
    assert torch.equal(sampling.scale_input(x, sigma), x)
    assert torch.equal(sampling.calculate_denoised(x, sigma, x + 1), x + 1)


def test_every_golden_was_compared(request: pytest.FixtureRequest) -> None:
    GOLDENS.assert_all_read(request)
