"""Latent nodes: defaults and errors; tests/diffusion tests the arithmetic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentloom.diffusion.latents.latents import Latent
from latentloom.engine.errors import InputError
from latentloom.nodes.latent import (
    empty_latent_image,
    latent_blend,
    latent_composite,
    set_latent_noise_mask,
)


def model(native_size: int) -> Any:
    family = SimpleNamespace(name="tiny", native_size=native_size, latent_channels=3)
    return SimpleNamespace(family=family)


def test_an_empty_latent_is_512_without_a_model() -> None:
    latent = empty_latent_image()
    assert (latent.shape, latent.family) == ((1, 4, 64, 64), None)


def test_an_empty_latent_takes_its_size_and_channels_from_the_model() -> None:
    latent = empty_latent_image(model=model(128), batch_size=2)
    assert (latent.shape, latent.family) == ((2, 3, 16, 16), "tiny")


def test_a_given_side_overrides_the_model() -> None:
    assert empty_latent_image(width=96, model=model(128)).shape == (1, 3, 16, 12)


def test_a_noise_mask_keeps_its_size() -> None:
    mask = torch.rand(1, 30, 50)
    masked = set_latent_noise_mask(Latent(torch.zeros(1, 4, 8, 8), family="tiny"), mask)
    assert masked.noise_mask is mask
    assert masked.family == "tiny"


def test_a_noise_mask_of_another_shape_is_rejected() -> None:
    with pytest.raises(InputError, match=r"mask: expected masks B×H×W"):
        set_latent_noise_mask(Latent(torch.zeros(1, 4, 8, 8)), torch.zeros(8, 8))


def test_latents_with_other_channels_are_rejected() -> None:
    four, sixteen = Latent(torch.zeros(1, 4, 2, 2)), Latent(torch.zeros(1, 16, 2, 2))
    with pytest.raises(InputError, match=r"samples2: expected latents with 4 channels"):
        latent_blend(four, sixteen)
    with pytest.raises(InputError, match=r"samples_from: .* got 16 channels"):
        latent_composite(four, sixteen)


def test_composite_offsets_are_rounded_down_to_latent_cells() -> None:
    pasted = latent_composite(
        Latent(torch.zeros(1, 1, 3, 3)), Latent(torch.ones(1, 1, 1, 1)), x=15, y=23
    )
    assert pasted.samples[0, 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]
