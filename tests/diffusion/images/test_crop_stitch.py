"""Crops: their position and size; stitching changes nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentloom.diffusion.images.crop_stitch import CropPlan, EmptyMaskError, cut, put_back
from latentloom.diffusion.images.masks import grow

PLAN = CropPlan(context_px=4, blend_px=2, native_px=32)


def photo(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.rand(
        batch, height, width, 3, generator=torch.Generator().manual_seed(height * width)
    )


def boxes(height: int, width: int, *corners: tuple[int, int, int, int]) -> Tensor:
    """Return a mask of boxes (left, top, right, bottom)."""
    mask = torch.zeros(1, height, width)
    for left, top, right, bottom in corners:
        mask[:, top:bottom, left:right] = 1.0
    return mask


def test_a_part_is_cropped_with_its_blend_area_and_context() -> None:
    crops = cut(photo(60, 80), boxes(60, 80, (30, 20, 50, 40)), PLAN)
    assert (crops.stitch.width, crops.stitch.height) == (32, 32)
    assert crops.stitch.positions == ((0, 24, 14),)
    assert torch.equal(crops.images, photo(60, 80)[:, 14:46, 24:56])
    ring = torch.zeros(1, 32, 32)
    ring[:, 4:28, 4:28] = 1.0
    assert torch.equal(crops.masks, ring)


def test_the_context_factor_applies_before_pixels_are_added() -> None:
    plan = replace(PLAN, context_factor=1.5)
    crops = cut(photo(60, 80), boxes(60, 80, (30, 20, 50, 40)), plan)
    assert (crops.stitch.width, crops.stitch.height) == (44, 44)
    assert crops.images.shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("box", "position"),
    [((0, 0, 5, 5), (0, 0, 0)), ((79, 59, 80, 60), (0, 69, 49)), ((0, 59, 5, 60), (0, 0, 49))],
)
def test_a_crop_at_the_border_stays_inside_the_image(
    box: tuple[int, int, int, int], position: tuple[int, int, int]
) -> None:
    crops = cut(photo(60, 80), boxes(60, 80, box), PLAN)
    corner = crops.stitch.positions[0]
    assert 0 <= corner.x <= 80 - crops.stitch.width
    assert 0 <= corner.y <= 60 - crops.stitch.height
    inside = slice(corner.y, corner.y + crops.stitch.height), slice(corner.x, None)
    covered = boxes(60, 80, box)[0]
    assert float(covered[inside].sum()) == float(covered.sum())
    assert (corner.x == 0) == (position[1] == 0)
    assert (corner.y == 0) == (position[2] == 0)


def test_an_image_smaller_than_its_context_is_not_cropped() -> None:
    crops = cut(photo(10, 14), boxes(10, 14, (5, 5, 6, 6)), CropPlan(native_px=64))
    assert (crops.stitch.width, crops.stitch.height) == (14, 10)
    height, width = crops.images.shape[1:3]
    assert (height % 8, width % 8) == (0, 0)
    assert 64 * 64 <= height * width <= 1.4 * 64 * 64


def test_separate_islands_give_one_crop_each() -> None:
    mask = boxes(60, 80, (4, 4, 10, 10), (60, 40, 70, 44), (8, 12, 9, 13))
    together = cut(photo(60, 80), mask, PLAN)
    apart = cut(photo(60, 80), mask, replace(PLAN, is_separate=True))
    assert len(together.images) == 1
    assert len(apart.images) == 2
    assert apart.images.shape[1:] == (32, 40, 3)
    assert float(apart.stitch.opacity[0].sum()) > float(apart.stitch.opacity[1].sum()) > 0


def test_images_of_a_batch_are_cropped_separately_and_unmasked_ones_skipped() -> None:
    mask = torch.cat([boxes(40, 40, (2, 2, 8, 8)), torch.zeros(1, 40, 40)])
    mask = torch.cat([mask, boxes(40, 40, (30, 30, 34, 34))])
    source = photo(40, 40, 3)
    crops = cut(source, mask, PLAN)
    assert [position.image for position in crops.stitch.positions] == [0, 2]
    result = put_back(crops.stitch, torch.ones_like(crops.images))
    assert torch.equal(result[1], source[1])
    assert float(result[2, 31, 31].mean()) == 1.0


def test_an_empty_mask_raises_its_own_error() -> None:
    with pytest.raises(EmptyMaskError):
        cut(photo(16, 16), torch.zeros(1, 64, 64), PLAN)


def test_a_long_part_is_cropped_with_more_context_across() -> None:
    crops = cut(photo(60, 80), boxes(60, 80, (0, 30, 80, 31)), CropPlan(0, 1.0, 0, 64))
    assert (crops.stitch.width, crops.stitch.height) == (80, 20)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    spots=st.integers(1, 4),
    blend=st.integers(0, 5),
    context=st.integers(0, 9),
    apart=st.booleans(),
    seed=st.integers(0, 999),
)
def test_stitching_changes_the_mask_and_nothing_beyond_the_blend_area(
    height: int, width: int, spots: int, blend: int, context: int, apart: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, height, width)
    for _ in range(spots):
        y, x = (int(torch.randint(side, (), generator=generator)) for side in (height, width))
        mask[0, y : y + 5, x : x + 3] = 1.0
    source = photo(height, width) * 0.5
    crops = cut(source, mask, CropPlan(context, 1.0, blend, 24, apart))
    result = put_back(crops.stitch, torch.ones_like(crops.images))
    beyond = grow(mask, blend, tapered=False) == 0
    assert torch.equal(result[beyond], source[beyond])
    assert bool((result[mask == 1] > 0.9999).all())
