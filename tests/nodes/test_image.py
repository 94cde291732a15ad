"""Image and mask nodes: sizes and errors; tests/diffusion tests the arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from latentloom.engine.errors import InputError
from latentloom.nodes import image, image_filter, image_size, image_transform, mask, paste

IMAGE = torch.rand(2, 6, 9, 3)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(4, 5, (2, 5, 4, 3)), (0, 12, (2, 12, 18, 3)), (3, 0, (2, 2, 3, 3)), (0, 0, (2, 6, 9, 3))],
)
def test_image_scale_sizes(width: int, height: int, shape: tuple[int, ...]) -> None:
    assert image_size.image_scale(IMAGE, "bilinear", width, height).shape == shape


def test_image_scale_by_rounds_and_keeps_one_pixel() -> None:
    assert image_size.image_scale_by(IMAGE, "area", 0.01).shape == (2, 1, 1, 3)


def test_total_pixels_keeps_the_aspect_ratio() -> None:
    scaled = image_size.image_scale_to_total_pixels(IMAGE, "nearest-exact", 0.01)
    assert scaled.shape == (2, 84, 125, 3)


def test_inverting_twice_gives_the_image() -> None:
    inverted = image.image_invert(image.image_invert(IMAGE))
    torch.testing.assert_close(inverted, IMAGE, atol=1e-6, rtol=0)


def test_a_composite_mask_of_other_dimensions_is_rejected() -> None:
    with pytest.raises(InputError, match=r"mask: expected masks B×H×W"):
        image.image_composite_masked(IMAGE, IMAGE, mask=torch.zeros(2, 1, 6, 9))


def test_a_missing_channel_is_rejected_with_a_hint() -> None:
    with pytest.raises(InputError) as refused:
        mask.image_to_mask(IMAGE, "alpha")
    assert refused.value.port == "channel"
    assert refused.value.got == "alpha"
    assert "LoadImage" in refused.value.hint


def test_a_mask_survives_a_round_trip_through_an_image() -> None:
    shown = mask.mask_to_image(IMAGE[..., 0])
    assert shown.shape == IMAGE.shape
    assert torch.equal(mask.image_to_mask(shown, "green"), IMAGE[..., 0])
    assert torch.equal(mask.invert_mask(shown[..., 0]), 1.0 - IMAGE[..., 0])


@pytest.mark.parametrize(
    ("largest", "shape"), [(3, (2, 2, 3, 3)), (18, (2, 12, 18, 3)), (0, (2, 6, 9, 3))]
)
def test_the_longer_side_gets_the_requested_length(largest: int, shape: tuple[int, ...]) -> None:
    assert image_size.image_scale_to_max_dimension(IMAGE, "area", largest).shape == shape


def test_the_size_of_a_batch() -> None:
    assert image_size.get_image_size(IMAGE) == (9, 6, 2)


def test_images_are_selected_and_repeated() -> None:
    assert torch.equal(image.image_from_batch(IMAGE, 9, 4), IMAGE[1:])
    repeated = image.repeat_image_batch(IMAGE, 2)
    assert torch.equal(image.image_from_batch(repeated, 2, 2), IMAGE)


def test_stitching_without_a_second_image_gives_the_first() -> None:
    assert image_transform.image_stitch(IMAGE) is IMAGE


@pytest.mark.parametrize("node", [mask.image_color_to_mask, image_filter.image_quantize])
def test_grey_images_are_rejected_where_colours_are_needed(
    node: Callable[[torch.Tensor], object],
) -> None:
    with pytest.raises(InputError, match=r"image: expected images with 3 or 4 channels, got 1"):
        node(IMAGE[..., :1])


@pytest.mark.parametrize(("x", "y", "port"), [(9, 0, "x"), (0, 6, "y")])
def test_a_crop_outside_the_mask_is_rejected(x: int, y: int, port: str) -> None:
    with pytest.raises(InputError) as refused:
        mask.crop_mask(IMAGE[..., 0], x, y, 2, 2)
    assert refused.value.port == port


def test_a_blend_wider_than_grow_is_rejected() -> None:
    with pytest.raises(InputError, match=r"blend: expected at most `grow` \(2\), got 3"):
        paste.image_paste_back(IMAGE, IMAGE, IMAGE[..., 0], 2, 3)


@pytest.mark.parametrize("size", [(7, 9), (6, 1)])
def test_a_changed_image_of_another_size_is_rejected(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"image: expected 9×6 pixels"):
        paste.image_paste_back(IMAGE, torch.rand(1, *size, 3), IMAGE[..., 0])
