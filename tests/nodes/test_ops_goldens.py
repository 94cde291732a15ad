"""Image, mask and latent nodes compared with results of ComfyUI (goldens/ops).

The latents were encoded by a network that is not part of the tests. `latent_flipx` holds the first
one with its rows reversed, and `vae_encode_crop` the second one.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.compatibility import VARIABLE
from latentloom.diffusion.latents.latents import Latent
from latentloom.nodes import (
    image,
    image_file,
    image_filter,
    image_size,
    image_transform,
    latent,
    latent_operation,
    mask,
)
from latentloom.nodes.ports import Crop, ImageResize, LatentResize
from tests.golden_files import Goldens
from tests.paths import ROOT

OPS = ROOT / "tests" / "goldens" / "ops"
GOLDENS = Goldens("ops")
# Values are of the order of 1; processors round filters differently.
TOLERANCE = 5e-6


def golden(name: str, key: str) -> Tensor:
    return GOLDENS[f"{name}/{key}"]


def photo(name: str) -> Tensor:
    return image_file.LoadImage.run(OPS / f"parity_{name}.png").IMAGE


def shown(name: str) -> Tensor:
    return image_file.LoadImageMask.run(OPS / f"parity_{name}.png", "red")


def encoded() -> Latent:
    return Latent(golden("latent_flipx", "samples").flip(2))


def distance(given: Tensor, expected: Tensor) -> float:
    assert given.shape == expected.shape
    assert given.dtype == torch.float32
    return float((given - expected).abs().max() / max(1.0, float(expected.std())))


@pytest.mark.parametrize(
    ("method", "crop", "width", "height", "filter"),
    [
        ("nearest-exact", "disabled", 60, 40, "down"),
        ("nearest-exact", "center", 60, 40, "down"),
        ("bilinear", "disabled", 150, 110, "up"),
        ("bilinear", "center", 60, 40, "down"),
        ("area", "disabled", 150, 110, "up"),
        ("area", "center", 150, 110, "up"),
        ("bicubic", "disabled", 60, 40, "down"),
        ("lanczos", "center", 150, 110, "up"),
    ],
)
def test_image_scale_gives_the_reference_numbers(
    method: ImageResize, crop: Crop, width: int, height: int, filter: str
) -> None:
    scaled = image_size.image_scale(photo("odd"), method, width, height, crop)
    assert distance(scaled, golden(f"imscale_{method}_{crop}_{filter}", "image")) <= TOLERANCE


def test_image_scale_by_gives_the_reference_numbers() -> None:
    scaled = image_size.image_scale_by(photo("odd"), "lanczos", 0.6)
    assert distance(scaled, golden("image_scaleby", "image")) <= TOLERANCE


def test_image_scale_to_total_pixels_gives_the_reference_numbers() -> None:
    scaled = image_size.image_scale_to_total_pixels(photo("odd"), "bicubic", 0.01)
    assert distance(scaled, golden("image_totalpx", "image")) <= TOLERANCE


def test_image_batch_gives_the_reference_numbers() -> None:
    batch = image.image_batch(photo("rgb"), photo("odd"))
    assert distance(batch, golden("image_batch", "image")) <= TOLERANCE


@pytest.mark.parametrize("mode", ["normal", "screen"])
def test_image_blend_gives_the_reference_numbers(mode: image.BlendMode) -> None:
    blended = image.image_blend(photo("rgb"), photo("rgb2"), 0.6, mode)
    assert distance(blended, golden(f"image_blend_{mode}", "image")) <= TOLERANCE


def test_image_composite_masked_gives_the_reference_numbers() -> None:
    source = (photo("odd"), 20, 10, False, shown("grad"))
    pasted = image.image_composite_masked(photo("rgb"), *source)
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
    masked = latent.set_latent_noise_mask(encoded(), shown("mask"))
    repeated = latent.repeat_latent_batch(masked, 2)
    assert repeated.noise_mask is not None
    assert torch.equal(repeated.noise_mask, golden("repeat_latent", "noise_mask")[:, 0])
    assert repeated.shape == golden("repeat_latent", "samples").shape


def test_image_to_mask_reads_what_load_image_mask_reads() -> None:
    green = image_file.LoadImageMask.run(OPS / "parity_grad.png", "green")
    assert torch.equal(mask.image_to_mask(photo("grad"), "green"), green)


def test_image_color_to_mask_gives_the_reference_numbers() -> None:
    got = mask.image_color_to_mask(photo("mask"), 0xFFFFFF)
    assert torch.equal(got, golden("mask_color", "mask"))


@pytest.mark.parametrize("operation", ["multiply", "subtract"])
def test_mask_composite_gives_the_reference_numbers(operation: mask.MaskOperation) -> None:
    source = mask.solid_mask(0.7, 50, 40)
    combined = mask.mask_composite(shown("grad"), source, 90, 12, operation)
    assert distance(combined, golden(f"mask_comp_{operation}", "mask")) <= TOLERANCE


def test_feather_mask_gives_the_older_reference_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.3.64")
    faded = mask.feather_mask(mask.solid_mask(1.0, 40, 30), 10, 5, 20, 0)
    assert distance(faded, golden("mask_feather", "mask")) <= TOLERANCE


def test_grow_mask_gives_the_reference_numbers() -> None:
    grown = mask.grow_mask(shown("mask"), 5, False)
    assert torch.equal(grown, golden("mask_grow_square", "mask"))


def test_solid_mask_gives_the_reference_numbers() -> None:
    assert torch.equal(mask.solid_mask(0.3, 9, 5), golden("mask_solid", "mask"))


def test_image_pad_for_outpaint_gives_the_reference_numbers() -> None:
    padded = image_transform.image_pad_for_outpaint(photo("rgb"), 16, 8, 0, 24, 12)
    assert torch.equal(padded.IMAGE, golden("image_pad", "image"))


def test_image_quantize_gives_the_reference_numbers() -> None:
    few = image_filter.image_quantize(photo("rgb"), 8, "floyd-steinberg")
    assert distance(few, golden("image_quantize_fs", "image")) <= TOLERANCE


def test_empty_image_gives_the_reference_numbers() -> None:
    empty = image.empty_image(16, 8, 2, 3368652)
    assert distance(empty, golden("image_empty", "image")) <= TOLERANCE


def test_latent_operations_give_the_reference_numbers() -> None:
    """The tolerance is 1e-5, since the input latent comes from another golden."""
    sharpen = latent_operation.latent_operation_sharpen(3, 1.0, 0.1)
    tonemap = latent_operation.latent_operation_tonemap_reinhard(1.0)
    for name, operation in (("latent_sharpen", sharpen), ("latent_tonemap", tonemap)):
        done = latent_operation.latent_apply_operation(encoded(), operation)
        assert distance(done.samples, golden(name, "samples")) <= 1e-5


def test_every_golden_was_compared(request: pytest.FixtureRequest) -> None:
    GOLDENS.assert_all_read(request)
