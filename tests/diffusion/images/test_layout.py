"""Image geometry: crop, pad, stitch, rotate and flip."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.images import layout

IMAGE = torch.rand(2, 4, 6, 3)


def test_the_corner_of_a_crop_is_moved_inside() -> None:
    assert torch.equal(layout.crop(IMAGE, 99, 99, 9, 9), IMAGE[:, 3:, 5:])
    assert torch.equal(layout.crop(IMAGE, 1, 2, 3, 1), IMAGE[:, 2:3, 1:4])


def test_the_outpainting_mask_falls_off_quadratically_inside() -> None:
    padded, mask = layout.pad_for_outpainting(torch.ones(1, 12, 12, 3), 2, 0, 0, 0, 4)
    assert padded.shape == (1, 12, 14, 3)
    assert padded[0, 0, :2].eq(0.5).all()
    row = [1.0, 1.0, 1.0, 0.5625, 0.25, 0.0625, *[0.0] * 8]
    assert mask.shape == (1, 12, 14)
    assert mask[0, 5].tolist() == row
    assert torch.equal(mask, mask[:, :1].expand_as(mask))


def test_a_feather_of_half_the_image_is_ignored() -> None:
    _, mask = layout.pad_for_outpainting(IMAGE, 1, 1, 1, 1, 2)
    assert bool((mask[0, 1:-1, 1:-1] == 0).all())
    assert float(mask.sum()) == 6 * 8 - 4 * 6


def test_padding_centres_the_image() -> None:
    padded = layout.fit_and_pad(torch.full((1, 2, 4, 4), 0.5), 8, 8, "black", "bilinear")
    assert padded.shape == (1, 8, 8, 4)
    assert bool((padded[:, 2:6] == 0.5).all())
    assert padded[0, 0, 0].tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("direction", "shape", "region"),
    [
        ("right", (2, 4, 14, 3), (slice(None), slice(None), slice(0, 6))),
        ("left", (2, 4, 14, 3), (slice(None), slice(None), slice(8, 14))),
        ("down", (2, 14, 6, 3), (slice(None), slice(0, 4))),
        ("up", (2, 14, 6, 3), (slice(None), slice(10, 14))),
    ],
)
def test_stitching_keeps_the_first_image(
    direction: str, shape: tuple[int, ...], region: tuple[slice, ...]
) -> None:
    other = torch.rand(1, 5, 5, 3)
    joined = layout.stitch(IMAGE, other, direction, True, 3, "green")
    assert tuple(joined.shape) == shape
    assert torch.equal(joined[region], IMAGE)


def test_images_of_other_sizes_are_centred_and_the_gap_has_its_colour() -> None:
    joined = layout.stitch(IMAGE, torch.ones(2, 2, 2, 3), "right", False, 2, "red")
    assert joined.shape == (2, 4, 10, 3)
    assert joined[0, 0, 6].tolist() == [1.0, 0.0, 0.0]
    assert joined[0, :, 8, 0].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_quarter_rotation_is_clockwise() -> None:
    turned = layout.rotate(IMAGE, "90 degrees")
    assert turned.shape == (2, 6, 4, 3)
    assert torch.equal(turned[:, 0], IMAGE.flip(1)[:, :, 0])
    assert torch.equal(layout.rotate(turned, "270 degrees"), IMAGE)


def test_flipping_twice_gives_the_image() -> None:
    assert torch.equal(layout.flip(IMAGE, True)[:, 0], IMAGE[:, -1])
    assert torch.equal(layout.flip(layout.flip(IMAGE, False), False), IMAGE)


def test_an_image_is_filled_with_its_colour() -> None:
    plain = layout.fill_color(2, 3, 4, 0x336699)
    assert plain.shape == (4, 3, 2, 3)
    assert torch.equal((plain[3, 2, 1] * 255).round(), torch.tensor([51.0, 102.0, 153.0]))
