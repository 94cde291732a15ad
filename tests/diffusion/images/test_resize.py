"""Resizing: sizes, crops and interpolation in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.diffusion.images.resize import (
    crop_to_aspect,
    fit_size,
    resize,
    resize_image,
    resize_mask,
    scale_size,
    size_of_area,
    slerp,
)

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp")
SIDES = st.integers(1, 40)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(METHODS), st.sampled_from(("disabled", "center")), SIDES, SIDES, SIDES, SIDES
)
def test_the_result_has_the_requested_size(
    method: str, crop: str, old_width: int, old_height: int, width: int, height: int
) -> None:
    resized = resize(torch.rand(2, 3, old_height, old_width), width, height, method, crop)
    assert resized.shape == (2, 3, height, width)
    assert resized.dtype == torch.float32
    assert bool(resized.isfinite().all())


@pytest.mark.parametrize("method", METHODS)
def test_a_flat_image_stays_flat(method: str) -> None:
    resized = resize(torch.full((1, 4, 6, 9), 51 / 255), 14, 5, method)
    torch.testing.assert_close(resized, torch.full((1, 4, 5, 14), 51 / 255), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"])
def test_resizing_to_its_own_size_changes_nothing(method: str) -> None:
    samples = torch.randn(1, 4, 5, 7)
    torch.testing.assert_close(resize(samples, 7, 5, method), samples, atol=1e-6, rtol=1e-6)


def test_bilinear_halving_reads_between_the_middle_pixels() -> None:
    row = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]])
    assert resize(row, 2, 1, "bilinear").flatten().tolist() == [0.5, 2.5]


def test_center_crop_crops_the_longer_side_only() -> None:
    width = torch.arange(12.0).reshape(1, 1, 1, 12).expand(1, 1, 4, 12)
    assert crop_to_aspect(width, 8, 8)[0, 0, 0].tolist() == [4.0, 5.0, 6.0, 7.0]


def test_center_crop_leaves_at_least_one_pixel() -> None:
    assert resize(torch.rand(1, 3, 2, 2), 1, 4000, "bilinear", "center").shape == (1, 3, 4000, 1)


def test_lanczos_truncates_values_to_eight_bits() -> None:
    resized = resize(torch.full((1, 1, 4, 4), 0.999), 8, 8, "lanczos")
    assert torch.equal(resized, torch.full((1, 1, 8, 8), 254 / 255))


def test_slerp_halfway_between_axes_preserves_the_length() -> None:
    x, y = torch.tensor([2.0, 0.0]).reshape(1, 2, 1), torch.tensor([0.0, 2.0]).reshape(1, 2, 1)
    turned = slerp(x, y, torch.tensor([0.5])).flatten()
    torch.testing.assert_close(turned, torch.tensor([math.sqrt(2), math.sqrt(2)]))


def test_slerp_interpolates_opposite_vectors_linearly() -> None:
    x = torch.tensor([1.0, 0.0]).reshape(1, 2, 1)
    assert slerp(x, -x, torch.tensor([0.25])).flatten().tolist() == [0.5, 0.0]


def test_slerp_from_zero_is_finite() -> None:
    zero, one = torch.zeros(1, 2, 1), torch.ones(1, 2, 1)
    assert bool(slerp(zero, one, torch.tensor([0.5])).isfinite().all())


def test_image_and_mask_axes_are_preserved() -> None:
    assert resize_image(torch.rand(2, 4, 6, 3), 9, 8).shape == (2, 8, 9, 3)
    assert resize_mask(torch.rand(2, 4, 6), 9, 8).shape == (2, 8, 9)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(0, 0, (200, 100)), (50, 0, (50, 25)), (0, 50, (100, 50)), (1, 0, (1, 1)), (7, 9, (7, 9))],
)
def test_zero_keeps_the_aspect_ratio(width: int, height: int, expected: tuple[int, int]) -> None:
    assert fit_size(200, 100, width, height) == expected


def test_scaling_never_reaches_zero() -> None:
    assert scale_size(3, 40, 0.01) == (1, 1)


def test_a_megapixel_is_1024_squared() -> None:
    assert size_of_area(512, 512, 1.0) == (1024, 1024)
