"""NaN from any network is an error that names the network, not a black image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import NonFiniteError
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.finite import check_finite
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.upscale import load_upscaler, upscale
from latentloom.diffusion.networks.vae import decode, decode_tiled, encode, encode_tiled
from tests.diffusion.networks.test_upscale import compact, photo, silent, write


@contextmanager
def damage(module: nn.Module, name: str) -> Iterator[None]:
    """Fill a parameter of a network with NaN, and put it back."""
    parameter = module.get_parameter(name)
    original = parameter.data
    parameter.data = torch.full_like(original, torch.nan)
    try:
        yield
    finally:
        parameter.data = original


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_any_value_that_is_no_number_is_found(value: float) -> None:
    check_finite("a network", torch.ones(2), torch.zeros(3))
    with pytest.raises(NonFiniteError, match="a network gave NaN or infinity"):
        check_finite("a network", torch.ones(2), torch.tensor([0.0, value]))


def test_nan_from_a_decoder_is_an_error(tiny: Checkpoint) -> None:
    latent = Latent(torch.zeros(1, 4, 8, 8))
    with damage(tiny.vae.weights.module, "decoder.conv_out.weight"):
        with pytest.raises(NonFiniteError, match="the VAE's decoder"):
            decode(tiny.vae, latent)
        with pytest.raises(NonFiniteError, match="the VAE's decoder"):
            decode_tiled(tiny.vae, latent, 64, 16)


def test_nan_from_an_encoder_is_an_error(tiny: Checkpoint) -> None:
    with damage(tiny.vae.weights.module, "encoder.conv_out.weight"):
        with pytest.raises(NonFiniteError, match="the VAE's encoder"):
            encode(tiny.vae, torch.zeros(1, 64, 64, 3))
        with pytest.raises(NonFiniteError, match="the VAE's encoder"):
            encode_tiled(tiny.vae, torch.zeros(1, 64, 64, 3), 64, 16)


def test_nan_from_a_text_encoder_is_an_error(tiny: Checkpoint) -> None:
    name = next(name for name, _ in tiny.clip.weights.module.named_parameters() if "fc1" in name)
    with (
        damage(tiny.clip.weights.module, name),
        pytest.raises(NonFiniteError, match="the text encoder l"),
    ):
        encode_text(tiny.clip, "a fox")


def test_nan_from_an_upscaler_is_an_error(tmp_path: Path) -> None:
    keys = compact(2)
    keys = {name: torch.full_like(weight, torch.nan) for name, weight in keys.items()}
    model = load_upscaler(write(tmp_path, keys))
    with pytest.raises(NonFiniteError, match="the upscaling network"):
        upscale(model, photo(), silent)
