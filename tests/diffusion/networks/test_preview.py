"""Previews of latents by a map that is fitted to the autoencoder."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from latentloom.diffusion.families.family import Family
from latentloom.diffusion.families.unet import unet_family
from latentloom.diffusion.networks import preview
from latentloom.diffusion.networks.preview import (
    LatentPreview,
    learn_colours,
    map_to_colours,
    render_jpeg,
)


@pytest.fixture
def family() -> Family:
    preview._fitted.clear()
    return unet_family("test")


def pair(seed: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return latents whose colours are a linear map of them, and their images."""
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    rows = torch.tensor([[0.1, 0, 0.05], [0, 0.1, 0], [0, 0, 0.1], [0.05, 0.02, 0]])
    colours = torch.einsum("bchw,cr->bhwr", latent, rows) / 2 + 0.5
    pixels = colours.movedim(-1, 1).repeat_interleave(8, -1).repeat_interleave(8, -2).movedim(1, -1)
    return latent / scale, pixels


def test_a_linear_autoencoder_is_fitted_by_one_image(family: Family) -> None:
    learn_colours(family, *pair(0, family.space.read_scale()))
    latent, pixels = pair(1, family.space.read_scale())
    colours = map_to_colours(LatentPreview(latent * family.space.read_scale(), family))
    assert colours is not None
    assert (colours - pixels[0, ::8, ::8]).abs().max() < 0.01


def test_there_is_no_preview_before_the_first_fit(family: Family) -> None:
    assert render_jpeg(LatentPreview(torch.zeros(1, 4, 8, 8), family)) is None


def test_a_preview_is_a_jpeg_eight_times_as_large(family: Family) -> None:
    learn_colours(family, *pair(0, family.space.read_scale()))
    data = render_jpeg(LatentPreview(torch.full((2, 4, 6, 8), torch.nan), family))
    assert data is not None
    assert Image.open(io.BytesIO(data)).size == (64, 48)


def test_a_latent_of_other_channels_has_no_preview(family: Family) -> None:
    learn_colours(family, *pair(0, family.space.read_scale()))
    assert map_to_colours(LatentPreview(torch.zeros(1, 16, 8, 8), family)) is None
