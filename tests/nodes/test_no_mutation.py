"""Nodes do not change their inputs, since caches hold the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentloom.diffusion.latents.latents import Latent
from latentloom.engine.node.context import Context
from latentloom.nodes import (
    alpha,
    image,
    image_file,
    image_filter,
    image_size,
    image_transform,
    inpaint_crop,
    latent,
    mask,
    paste,
)

IMAGE, OTHER = torch.rand(2, 8, 8, 3), torch.rand(1, 5, 7, 3)
MASK = torch.rand(2, 8, 8)
LATENT = Latent(torch.randn(2, 4, 8, 8), MASK, (3, 5), "tiny")
SMALL = Latent(torch.randn(1, 4, 4, 6))

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (image_size.image_scale, (IMAGE, "bicubic", 5, 9, "center")),
    (image_size.image_scale, (IMAGE, "nearest-exact", 0, 0)),
    (image_size.image_scale_by, (IMAGE, "lanczos", 1.0)),
    (image_size.image_scale_to_total_pixels, (IMAGE, "area", 0.01)),
    (image.image_batch, (IMAGE, OTHER)),
    (image.image_invert, (IMAGE,)),
    (image.image_blend, (IMAGE, OTHER, 0.5, "soft_light")),
    (image.image_composite_masked, (IMAGE, OTHER, 2, 1, False, MASK)),
    (image.image_composite_masked, (IMAGE, IMAGE, 0, 0, True)),
    (image.image_from_batch, (IMAGE, 1, 1)),
    (image.repeat_image_batch, (IMAGE, 2)),
    (image_size.image_scale_to_max_dimension, (IMAGE, "area", 5)),
    (image_size.resize_and_pad_image, (OTHER, 8, 9)),
    (image_transform.image_crop, (IMAGE, 3, 3, 2, 2)),
    (image_transform.image_pad_for_outpaint, (IMAGE, 8, 0, 8, 0, 2)),
    (image_transform.image_stitch, (IMAGE, "up", True, 2, "red", OTHER)),
    (image_transform.image_rotate, (IMAGE, "90 degrees")),
    (image_transform.image_flip, (IMAGE,)),
    (image_filter.image_blur, (IMAGE, 3)),
    (image_filter.image_sharpen, (IMAGE, 3)),
    (image_filter.image_add_noise, (IMAGE, 1)),
    (image_filter.image_quantize, (IMAGE, 4, "bayer-4")),
    (image_filter.morphology, (IMAGE, "gradient", 3)),
    (alpha.join_image_with_alpha, (IMAGE, MASK)),
    (alpha.split_image_with_alpha, (IMAGE,)),
    (alpha.porter_duff_image_composite, (IMAGE, MASK, IMAGE, MASK, "XOR")),
    (paste.image_paste_back, (IMAGE, IMAGE, MASK, 3, 2)),
    (inpaint_crop.inpaint_crop, (IMAGE, MASK, 1, 1.0, 1, "apart", 16)),
    (mask.image_color_to_mask, (IMAGE, 0)),
    (mask.grow_mask, (MASK, 0)),
    (mask.grow_mask, (MASK, 3, False)),
    (mask.grow_mask, (MASK, -1)),
    (mask.feather_mask, (MASK, 2, 2, 2, 2)),
    (mask.crop_mask, (MASK, 1, 1, 3, 3)),
    (mask.mask_composite, (MASK, MASK, 2, 2, "xor")),
    (mask.threshold_mask, (MASK,)),
    (mask.image_to_mask, (IMAGE, "red")),
    (mask.mask_to_image, (MASK,)),
    (mask.invert_mask, (MASK,)),
    (latent.set_latent_noise_mask, (LATENT, MASK)),
    (latent.latent_upscale, (LATENT, "bislerp", 128, 0, "center")),
    (latent.latent_upscale, (LATENT, "bilinear", 0, 0)),
    (latent.latent_upscale_by, (LATENT, "area", 1.0)),
    (latent.latent_blend, (LATENT, SMALL, 0.5)),
    (latent.latent_composite, (LATENT, SMALL, 8, 8, 16)),
    (latent.latent_composite, (LATENT, SMALL, 64, 64)),
    (latent.repeat_latent_batch, (LATENT, 3)),
    (latent.latent_from_batch, (LATENT, 1, 1)),
]


def tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors among a node's arguments; the records around them are frozen."""
    parts: list[Any] = []
    for value in values:
        parts += [value.samples, value.noise_mask] if isinstance(value, Latent) else [value]
    return [part for part in parts if isinstance(part, torch.Tensor)]


@pytest.mark.parametrize(
    ("function", "arguments"),
    CALLS,
    ids=[f"{call[0].__name__}-{i}" for i, call in enumerate(CALLS)],
)
def test_nodes_do_not_change_their_inputs(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    before = [tensor.clone() for tensor in tensors(arguments)]
    function(*arguments)
    after = tensors(arguments)
    assert len(after) == len(before) > 0
    assert all(torch.equal(*pair) for pair in zip(after, before, strict=True))


def test_saving_does_not_change_its_images(tmp_path: Path) -> None:
    before = IMAGE.clone()
    image_file.preview_image(IMAGE, Context(temp_dir=tmp_path))
    assert torch.equal(IMAGE, before)
