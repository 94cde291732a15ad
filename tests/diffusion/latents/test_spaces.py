"""A latent in the space of a model: zeros adapt, other values of another space are refused."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.errors import UnsuitableValueError
from latentloom.diffusion.families.space import FLUX, FLUX2, SD, WAN, LatentSpace
from latentloom.diffusion.latents.latents import Latent, fit_space, make_empty


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (SD, (2, 4, 8, 12)),
        (FLUX, (2, 16, 8, 12)),
        (FLUX2, (2, 128, 4, 6)),
        (WAN, (2, 16, 1, 8, 12)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_empty_latent_takes_the_form_of_the_models_space(
    space: LatentSpace, shape: tuple[int, ...]
) -> None:
    result = fit_space(make_empty(96, 64, batch=2), space)
    assert result.shape == shape
    assert not result.samples.any()


def test_an_empty_latent_without_the_size_of_its_cells_stays_as_large() -> None:
    assert fit_space(Latent(torch.zeros(1, 128, 4, 6)), FLUX).shape == (1, 16, 4, 6)


def test_a_latent_of_the_space_stays_as_it_is() -> None:
    latent = Latent(torch.randn(1, 16, 3, 5), cell_px=8)
    assert fit_space(latent, FLUX) is latent


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 16, 1, 8, 8)])
def test_values_of_another_space_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsuitableValueError, match=r"16 channels, 8 pixels per cell, got"):
        fit_space(Latent(torch.ones(shape)), FLUX)


def test_mask_and_noise_indices_of_an_empty_latent_stay() -> None:
    mask = torch.rand(1, 64, 96)
    latent = Latent(torch.zeros(1, 4, 8, 12), mask, (3,), cell_px=8)
    result = fit_space(latent, FLUX)
    assert result.noise_mask is mask
    assert result.batch_index == (3,)
