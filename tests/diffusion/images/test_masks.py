"""Masks: channels, growth compared with scipy, crops, and combinations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from latentloom.diffusion.images import masks

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])


def test_channels_are_selected_by_name() -> None:
    image = torch.rand(2, 3, 4, 4)
    for index, channel in enumerate(masks.CHANNELS):
        assert torch.equal(masks.from_image(image, channel), image[..., index])


def test_the_error_names_a_missing_channel() -> None:
    with pytest.raises(ValueError, match="3 channels, got alpha"):
        masks.from_image(torch.rand(1, 2, 2, 3), "alpha")


def test_colours_match_exactly() -> None:
    levels = torch.tensor([[17, 34, 51], [17, 34, 52]]).float() / 255
    mask = masks.from_color(levels[None, None], 0x112233)
    assert mask.tolist() == [[[1.0, 0.0]]]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    pixels=st.integers(-6, 6),
    tapered=st.booleans(),
    seed=st.integers(0, 99),
)
def test_growing_equals_repeated_grey_morphology_of_scipy(
    height: int, width: int, pixels: int, tapered: bool, seed: int
) -> None:
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    footprint = CROSS if tapered else np.ones((3, 3))
    step = ndimage.grey_dilation if pixels > 0 else ndimage.grey_erosion
    expected = mask.numpy()
    for _ in range(abs(pixels)):
        expected = np.stack([step(plane, footprint=footprint) for plane in expected])
    grown = masks.grow(mask, pixels, tapered)
    assert np.array_equal(grown.numpy(), expected)


def test_growing_further_than_the_mask_is_wide_covers_it() -> None:
    mask = torch.zeros(1, 5, 7)
    mask[0, 4, 0] = 1.0
    assert bool((masks.grow(mask, 16_384) == 1).all())
    assert bool((masks.grow(mask, 16_384, False) == 1).all())
    assert not bool(masks.grow(mask, -1).any())


def test_feathering_is_limited_to_the_mask() -> None:
    faded = masks.feather(torch.ones(1, 1, 4), 16, 0, 0, 0)
    assert faded.tolist() == [[[0.25, 0.5, 0.75, 1.0]]]


def test_a_crop_is_limited_to_the_mask() -> None:
    mask = torch.rand(2, 6, 8)
    assert torch.equal(masks.crop(mask, 6, 1, 512, 2), mask[:, 1:3, 6:])
    with pytest.raises(ValueError, match="outside the mask of 8×6"):
        masks.crop(mask, 8, 0, 1, 1)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("multiply", [0.08, 0.72]),
        ("add", [0.6, 1.0]),
        ("subtract", [0.0, 0.1]),
        ("and", [0.0, 1.0]),
        ("or", [0.0, 1.0]),
        ("xor", [0.0, 0.0]),
    ],
)
def test_masks_are_combined_by_value(operation: str, expected: list[float]) -> None:
    below, above = torch.tensor([[[0.2, 0.9]]]), torch.tensor([[[0.4, 0.8]]])
    combined = masks.combine(below, above, 0, 0, operation)
    torch.testing.assert_close(combined, torch.tensor([[expected]]))


def test_a_source_is_cropped_to_the_target() -> None:
    below = torch.rand(1, 4, 6)
    combined = masks.combine(below, torch.zeros(2, 9, 9), 5, 3, "multiply")
    assert combined.shape == (2, 4, 6)
    assert combined[:, 3, 5].tolist() == [0.0, 0.0]
    assert torch.equal(combined[0].flatten()[:-1], below[0].flatten()[:-1])
    assert torch.equal(masks.combine(below, below, 6, 0, "xor"), below)


def test_a_threshold_excludes_its_own_value() -> None:
    mask = torch.tensor([[[0.4, 0.5, 0.6]]])
    assert masks.threshold(mask, 0.5).tolist() == [[[0.0, 0.0, 1.0]]]
