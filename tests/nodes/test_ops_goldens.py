"""Picture, mask and latent nodes against ComfyUI's numbers (goldens/ops).

Latents there were encoded by a network that is not at hand; `latent_flipx` holds the same latent
with its rows reversed, and `vae_encode_crop` the second one, so that no network is needed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffusion.latents import Latent
from nodes import image, image_file, latent, mask
from nodes.ports import Crop, ImageResize, LatentResize

OPS = Path(__file__).parents[1] / "goldens" / "ops"
TOLERANCE = 1e-6


def golden(name: str, key: str) -> Tensor:
    tensors: dict[str, Tensor] = load_file(OPS / f"{name}.safetensors")
    return tensors[key]


def picture(name: str) -> Tensor:
    return image_file.LoadImage.run(OPS / f"parity_{name}.png").IMAGE


def encoded() -> Latent:
    return Latent(golden("latent_flipx", "samples").flip(2))


def distance(given: Tensor, wanted: Tensor) -> float:
    assert given.shape == wanted.shape
    assert given.dtype == torch.float32
    return float((given - wanted).abs().max() / max(1.0, float(wanted.std())))


@pytest.mark.parametrize(
    ("method", "crop", "width", "height", "way"),
    [
        ("nearest-exact", "disabled", 60, 40, "down"),
        ("nearest-exact", "center", 60, 40, "down"),
        ("bilinear", "disabled", 150, 110, "up"),
        ("bilinear", "center", 60, 40, "down"),
        ("area", "disabled", 150, 110, "up"),
        ("bicubic", "disabled", 60, 40, "down"),
        ("lanczos", "center", 150, 110, "up"),
    ],
)
def test_image_scale_gives_the_reference_numbers(
    method: ImageResize, crop: Crop, width: int, height: int, way: str
) -> None:
    scaled = image.image_scale(picture("odd"), method, width, height, crop)
    assert distance(scaled, golden(f"imscale_{method}_{crop}_{way}", "image")) <= TOLERANCE


def test_image_scale_by_gives_the_reference_numbers() -> None:
    scaled = image.image_scale_by(picture("odd"), "lanczos", 0.6)
    assert distance(scaled, golden("image_scaleby", "image")) <= TOLERANCE


def test_image_scale_to_total_pixels_gives_the_reference_numbers() -> None:
    scaled = image.image_scale_to_total_pixels(picture("odd"), "bicubic", 0.01)
    assert distance(scaled, golden("image_totalpx", "image")) <= TOLERANCE


def test_image_batch_gives_the_reference_numbers() -> None:
    batch = image.image_batch(picture("rgb"), picture("odd"))
    assert distance(batch, golden("image_batch", "image")) <= TOLERANCE


@pytest.mark.parametrize("mode", ["normal", "screen"])
def test_image_blend_gives_the_reference_numbers(mode: image.BlendMode) -> None:
    blended = image.image_blend(picture("rgb"), picture("rgb2"), 0.6, mode)
    assert distance(blended, golden(f"image_blend_{mode}", "image")) <= TOLERANCE


def test_image_composite_masked_gives_the_reference_numbers() -> None:
    shown = image_file.LoadImageMask.run(OPS / "parity_grad.png", "red")
    pasted = image.image_composite_masked(picture("rgb"), picture("odd"), 20, 10, False, shown)
    assert distance(pasted, golden("image_composite", "image")) <= TOLERANCE


def test_load_image_without_alpha_gives_the_reference_mask() -> None:
    empty = image_file.LoadImage.run(OPS / "parity_rgb.png").MASK
    assert torch.equal(empty, golden("mask_rgb_noalpha", "mask"))


def test_load_image_mask_gives_the_reference_alpha() -> None:
    alpha = image_file.LoadImageMask.run(OPS / "parity_rgba.png", "alpha")
    assert torch.equal(alpha, golden("mask_loadmask_alpha", "mask"))


@pytest.mark.parametrize(
    ("method", "crop"),
    [
        ("nearest-exact", "disabled"),
        ("bilinear", "center"),
        ("bicubic", "center"),
        ("bislerp", "disabled"),
    ],
)
def test_latent_upscale_gives_the_reference_numbers(method: LatentResize, crop: Crop) -> None:
    resized = latent.latent_upscale(encoded(), method, 200, 120, crop)
    assert distance(resized.samples, golden(f"latup_{method}_{crop}", "samples")) <= TOLERANCE


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear"])
def test_latent_upscale_by_gives_the_reference_numbers(method: LatentResize) -> None:
    resized = latent.latent_upscale_by(encoded(), method, 0.75)
    assert distance(resized.samples, golden(f"latupby_{method}", "samples")) <= TOLERANCE


def test_latent_composite_gives_the_reference_numbers() -> None:
    other = Latent(golden("vae_encode_crop", "samples"))
    pasted = latent.latent_composite(encoded(), other, 32, 16, 0)
    assert torch.equal(pasted.samples, golden("latent_composite", "samples"))


def test_repeated_latents_keep_the_reference_noise_mask() -> None:
    shown = image_file.LoadImageMask.run(OPS / "parity_mask.png", "red")
    masked = latent.set_latent_noise_mask(encoded(), shown)
    repeated = latent.repeat_latent_batch(masked, 2)
    wanted = load_file(OPS / "repeat_latent.safetensors")
    assert repeated.noise_mask is not None
    assert torch.equal(repeated.noise_mask, wanted["noise_mask"][:, 0])
    assert repeated.shape == wanted["samples"].shape


def test_image_to_mask_reads_what_load_image_mask_reads() -> None:
    shown = image_file.LoadImageMask.run(OPS / "parity_grad.png", "green")
    assert torch.equal(mask.image_to_mask(picture("grad"), "green"), shown)
