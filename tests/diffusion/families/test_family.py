from __future__ import annotations

import torch

from latentloom.diffusion.families.family import (
    FAMILY_BY_TEXT_DIM,
    SD15,
    SDXL,
    Family,
    family_for,
    latent_space,
)


def test_a_latent_in_model_space_is_scaled() -> None:
    latent = torch.randn(1, 4, 2, 2)
    assert torch.equal(SD15.to_model(latent), latent * 0.18215)


def test_to_vae_is_the_inverse_of_to_model() -> None:
    latent = torch.randn(1, 4, 2, 2)
    assert torch.allclose(SDXL.to_vae(SDXL.to_model(latent)), latent)


def test_an_unknown_text_width_has_a_family_of_its_own() -> None:
    assert family_for(2048) is SDXL
    assert family_for(96) == Family("sd-96", text_dim=96)


def test_families_share_the_latent_space_they_were_trained_in() -> None:
    spaces = {family.name: latent_space(family.name) for family in FAMILY_BY_TEXT_DIM.values()}
    assert spaces == {"sd15": "sd15", "sd21": "sd15", "sdxl": "sdxl", "sdxl-refiner": "sdxl"}
