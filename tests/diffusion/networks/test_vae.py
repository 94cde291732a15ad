"""The autoencoder equals diffusers', in one piece and in tiles."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Vae
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.vae import decode, decode_tiled, encode, encode_tiled
from latentloom.diffusion.networks.weights import VaeWeights
from tests.closeness import mean_error
from tests.diffusion.networks.fast.networks import make_vae


def image(height: int, width: int) -> Tensor:
    return torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0))


def test_encoding_is_the_posteriors_mean(tiny: Checkpoint) -> None:
    pixels = image(32, 48)
    with torch.no_grad():
        module = tiny.vae.weights.module
        expected = module.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean  # type: ignore[operator]
    got = encode(tiny.vae, pixels)
    assert torch.allclose(got.samples, expected, atol=1e-6)
    assert got.family == "sd-32"


def test_decoding_is_clamped_pixels(tiny: Checkpoint) -> None:
    samples = torch.randn(2, 4, 4, 6, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        expected = tiny.vae.weights.module.decode(samples).sample  # type: ignore[operator]
    got = decode(tiny.vae, Latent(samples))
    assert torch.allclose(got, ((expected + 1) / 2).clamp(0, 1).movedim(1, -1), atol=1e-6)
    assert got.shape == (2, 32, 48, 3)


def test_odd_sizes_are_cropped_around_the_centre(tiny: Checkpoint) -> None:
    pixels = image(37, 50)
    cropped = pixels[:, 2:34, 1:49]
    assert torch.equal(encode(tiny.vae, pixels).samples, encode(tiny.vae, cropped).samples)


def test_alpha_is_dropped(tiny: Checkpoint) -> None:
    pixels = image(16, 16)
    with_alpha = torch.cat([pixels, torch.ones(2, 16, 16, 1)], dim=-1)
    assert torch.equal(encode(tiny.vae, with_alpha).samples, encode(tiny.vae, pixels).samples)


def test_one_tile_equals_the_untiled_image(tiny: Checkpoint) -> None:
    """Every pass has one tile when the image is smaller than half a tile."""
    samples = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    untiled = decode(tiny.vae, Latent(samples))
    assert torch.allclose(decode_tiled(tiny.vae, Latent(samples), 128, 0), untiled, atol=1e-6)


def test_many_tiles_are_close_to_the_untiled_image(tiny: Checkpoint) -> None:
    samples = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.5
    untiled = decode(tiny.vae, Latent(samples))
    tiled = decode_tiled(tiny.vae, Latent(samples), 96, 24)
    assert tiled.shape == untiled.shape
    # Norms over a tile differ from norms over the image, so only the mean is close.
    assert float((tiled - untiled).abs().mean()) < 0.1


def test_tiles_of_a_pointwise_function_leave_no_seam(tiny: Checkpoint) -> None:
    from latentloom.diffusion.networks.vae import _average_passes

    x = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    got = _average_passes(lambda tile: tile * 2 + 1, x, 16, 4, 1)
    assert torch.allclose(got, x * 2 + 1, atol=1e-6)


def test_encoding_in_tiles_has_the_same_shape(tiny: Checkpoint) -> None:
    pixels = image(96, 136)
    got = encode_tiled(tiny.vae, pixels, 64, 16).samples
    assert got.shape == encode(tiny.vae, pixels).samples.shape


@pytest.mark.parametrize("size", [(8, 8), (8, 200)])
def test_small_and_narrow_images_survive(tiny: Checkpoint, size: tuple[int, int]) -> None:
    pixels = image(*size)
    assert decode(tiny.vae, encode(tiny.vae, pixels)).shape == pixels.shape
    assert (
        decode_tiled(tiny.vae, encode_tiled(tiny.vae, pixels, 64, 0), 64, 0).shape == pixels.shape
    )


def test_what_overflows_in_float16_is_computed_with_a_wider_range() -> None:
    network = make_vae()
    first: Any = network.get_submodule("decoder.conv_in")
    first.weight.data *= 1e5
    latent = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))
    half = VaeWeights(copy.deepcopy(network).half(), "half", torch.device("cpu"))
    with half.use():
        assert not bool(half.decode(latent.samples.half()).isfinite().all())
    expected = decode(Vae(VaeWeights(network, "full", torch.device("cpu")), SD15), latent)
    got = decode(Vae(half, SD15), latent)
    assert mean_error(got, expected) < 0.01
    assert half.dtype == torch.float16
