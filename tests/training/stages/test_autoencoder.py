"""The autoencoder's start, its loss and the folding of its latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.stages.autoencoder import (
    LATENTS,
    SCALE,
    build,
    fold,
    prepare,
    psnr,
    reconstruction_loss,
)
from training.world.pool import draw_pool, to_tensor

IMAGES = to_tensor(draw_pool(12, 4, 0))


@pytest.fixture
def vae() -> Any:
    torch.manual_seed(0)
    vae = build((8, 8, 16, 16)).eval()
    prepare(vae, IMAGES)
    return vae


@torch.no_grad()
def test_latents_start_with_unit_variance_and_little_noise(vae: Any) -> None:
    posterior = vae.encode(IMAGES).latent_dist

    assert posterior.mean.std((0, 2, 3)).tolist() == pytest.approx([1.0] * LATENTS, abs=1e-3)
    assert float(posterior.std.mean()) < 0.1


@torch.no_grad()
def test_folding_keeps_the_decoded_images(vae: Any) -> None:
    before = vae.decode(vae.encode(IMAGES).latent_dist.mean).sample

    fold(vae, IMAGES)

    after = vae.decode(vae.encode(IMAGES).latent_dist.mean).sample
    # float32 through a dozen layers with other intermediate magnitudes
    assert float((after - before).abs().max()) < 1e-3


@torch.no_grad()
def test_folded_latents_times_the_scale_have_mean_0_and_deviation_1(vae: Any) -> None:
    fold(vae, IMAGES)

    latents = vae.encode(IMAGES).latent_dist.mean * SCALE
    assert latents.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * LATENTS, abs=1e-3)
    assert latents.std((0, 2, 3)).tolist() == pytest.approx([1.0] * LATENTS, abs=1e-3)


@torch.no_grad()
def test_folding_scales_the_posterior_noise_with_the_mean(vae: Any) -> None:
    before = vae.encode(IMAGES).latent_dist
    ratio = before.std / before.mean.std((0, 2, 3))[:, None, None]

    fold(vae, IMAGES)

    after = vae.encode(IMAGES).latent_dist
    torch.testing.assert_close(
        after.std / after.mean.std((0, 2, 3))[:, None, None], ratio, rtol=1e-3, atol=1e-5
    )


def test_the_loss_of_a_perfect_copy_is_zero() -> None:
    assert float(reconstruction_loss(IMAGES, IMAGES)) == 0.0


def test_a_wrong_flat_colour_costs_more_than_fine_noise() -> None:
    tinted = IMAGES + 0.1
    generator = torch.Generator().manual_seed(0)
    noisy = IMAGES + 0.1 * torch.randn(IMAGES.shape, generator=generator).sign()

    tint = reconstruction_loss(tinted, IMAGES, low=40.0)
    assert tint > reconstruction_loss(noisy, IMAGES, low=40.0)


def test_psnr_falls_when_the_decoder_is_broken(vae: Any) -> None:
    full = psnr(vae, IMAGES)

    vae.decoder.conv_out.bias.data += 5

    assert psnr(vae, IMAGES) < full
