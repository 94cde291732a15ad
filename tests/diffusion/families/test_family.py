from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.families.sdxl import SDXL
from latentloom.diffusion.families.space import FLUX, WAN, LatentSpace
from latentloom.diffusion.families.table import (
    FAMILY_BY_TEXT_DIM,
    family_for,
    share_space,
    space_named,
)
from latentloom.diffusion.families.unet import unet_family


def test_a_latent_in_model_space_is_scaled() -> None:
    latent = torch.randn(1, 4, 2, 2)
    assert torch.equal(SD15.to_model(latent), latent * 0.18215)


@pytest.mark.parametrize("space", [SDXL.space, FLUX, WAN], ids=lambda space: space.name)
def test_to_vae_is_the_inverse_of_to_model(space: LatentSpace) -> None:
    latent = torch.randn(2, space.channels, *[1] * space.has_frames, 2, 2)
    assert torch.allclose(space.to_vae(space.to_model(latent)), latent, atol=1e-5)


def test_each_channel_can_have_its_own_scale_and_shift() -> None:
    space = LatentSpace("two", channels=2, scale=(2.0, 3.0), shift=(1.0, -1.0))
    assert space.to_model(torch.ones(1, 2, 1, 1)).flatten().tolist() == [0.0, 6.0]


def test_an_unknown_text_width_has_a_family_of_its_own() -> None:
    assert family_for(2048) is SDXL
    assert family_for(96) == unet_family("sd-96", text_dim=96)


def test_families_share_the_latent_space_they_were_trained_in() -> None:
    spaces = {family.name: family.space.name for family in FAMILY_BY_TEXT_DIM.values()}
    assert spaces == {"sd15": "sd15", "sd21": "sd15", "sdxl": "sdxl", "sdxl-refiner": "sdxl"}


@pytest.mark.parametrize(
    ("first", "second", "is_shared"),
    [
        ("sd15", "sd21", True),
        ("sd15", "sdxl", False),
        ("latent-4x8", "sdxl", True),
        ("latent-16x8", "sdxl", False),
        ("latent-16x8", "latent-16x8", True),
        ("sd-64", "latent-16x8", True),
        ("sd-64", "sd15", False),
    ],
)
def test_an_autoencoder_of_its_own_fits_all_families_with_its_layout(
    first: str, second: str, *, is_shared: bool
) -> None:
    assert share_space(first, second) is is_shared
    assert share_space(second, first) is is_shared


def test_the_layout_of_an_unknown_family_is_not_guessed() -> None:
    assert space_named("sd-64").is_like(LatentSpace("", channels=16))
