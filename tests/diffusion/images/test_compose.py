"""Blends and pastes: closed forms and properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentloom.diffusion.images.compose import (
    blend,
    composite,
    join,
    match_channels,
    repeat_to_batch,
)
from latentloom.diffusion.images.images import to_bytes

SIDES = st.integers(1, 23)


def levels(height: int, width: int, seed: int) -> Tensor:
    """Return a random image with 8-bit levels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, height, width, 3), generator=generator) / 255.0


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**31))
def test_outside_a_hard_mask_every_byte_is_the_destination(
    height: int, width: int, rows: int, columns: int, x: int, y: int, seed: int
) -> None:
    target, source = levels(height, width, seed), levels(rows, columns, seed + 1)
    mask = (torch.rand(1, rows, columns) < 0.5).float()
    pasted = to_bytes(composite(target, source, x, y, mask))
    inside = torch.zeros(1, height + 60, width + 60, dtype=torch.bool)
    inside[:, y : y + rows, x : x + columns] = mask > 0
    unchanged = ~inside[:, :height, :width]
    assert torch.equal(pasted[unchanged], to_bytes(target)[unchanged])
    shown = mask[:, : max(0, height - y), : max(0, width - x)] > 0
    expected = to_bytes(source)[:, : shown.shape[1], : shown.shape[2]]
    assert torch.equal(pasted[inside[:, :height, :width]], expected[shown])


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 2**31))
def test_pixels_outside_a_smaller_hard_mask_do_not_change(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    from latentloom.diffusion.images.resize import resize_mask

    target, source = levels(height, width, seed), levels(height, width, seed + 1)
    mask = (torch.rand(1, rows, columns) < 0.5).float()
    unchanged = resize_mask(mask, width, height) == 0
    assert torch.equal(composite(target, source, 0, 0, mask)[unchanged], target[unchanged])


def test_a_soft_mask_mixes_by_its_value() -> None:
    target, source = torch.zeros(1, 2, 2, 3), torch.ones(1, 2, 2, 3)
    pasted = composite(target, source, 0, 0, torch.full((1, 2, 2), 0.25))
    assert torch.equal(pasted, torch.full((1, 2, 2, 3), 0.25))


def test_without_a_mask_the_source_covers() -> None:
    pasted = composite(torch.zeros(1, 4, 4, 3), torch.ones(1, 2, 3, 3), 2, 1)
    assert pasted[0, :, :, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]


def test_a_resized_source_covers_everything() -> None:
    pasted = composite(torch.zeros(1, 4, 6, 3), torch.ones(1, 1, 1, 3), fit=True, x=0, y=0)
    assert torch.equal(pasted, torch.ones(1, 4, 6, 3))


def test_a_batch_repeats_its_source_and_mask() -> None:
    pasted = composite(torch.zeros(3, 2, 2, 3), torch.ones(2, 2, 2, 3), 0, 0, torch.ones(1, 2, 2))
    assert torch.equal(pasted, torch.ones(3, 2, 2, 3))


def test_an_opaque_source_loses_its_alpha_on_an_image_without() -> None:
    pasted = composite(torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 4), 0.5), 0, 0)
    assert torch.equal(pasted, torch.full((1, 2, 2, 3), 0.5))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", 0.25),
        ("multiply", 0.15),
        ("screen", 0.7),
        ("overlay", 0.4),
        ("soft_light", 0.48),
        ("difference", 0.35),
    ],
)
def test_blend_modes_follow_their_formulas(mode: str, expected: float) -> None:
    first, second = torch.full((1, 1, 1, 3), 0.6), torch.full((1, 1, 1, 3), 0.25)
    blended = blend(first, second, 1.0, mode)
    torch.testing.assert_close(blended, torch.full((1, 1, 1, 3), expected))


def test_soft_light_lightens_with_the_square_root() -> None:
    first, second = torch.full((1, 1, 1, 3), 0.64), torch.full((1, 1, 1, 3), 0.75)
    blended = blend(first, second, 1.0, "soft_light")
    torch.testing.assert_close(blended, torch.full((1, 1, 1, 3), 0.64 + 0.5 * (0.8 - 0.64)))


def test_a_blend_is_clamped_to_the_range() -> None:
    dark, light = torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 3)
    assert torch.equal(blend(dark, light, 1.0, "difference"), dark)


def test_a_blend_takes_the_larger_batch() -> None:
    assert blend(torch.rand(1, 4, 4, 3), torch.rand(3, 5, 9, 3), 0.5, "normal").shape[0] == 3


def test_an_unknown_blend_mode_is_rejected() -> None:
    with pytest.raises(ValueError, match="unknown blend mode 'burn'"):
        blend(torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 3), 1.0, "burn")


def test_joined_images_take_the_first_size_and_the_most_channels() -> None:
    joined = join(torch.zeros(1, 4, 6, 3), torch.zeros(2, 9, 3, 4))
    assert joined.shape == (3, 4, 6, 4)
    assert torch.equal(joined[0, ..., 3], torch.ones(4, 6))


def test_missing_channels_become_opaque() -> None:
    matched = match_channels(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 3))
    assert matched.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_batches_are_repeated_and_truncated() -> None:
    pair = torch.tensor([1.0, 2.0])
    assert repeat_to_batch(pair, 5).tolist() == [1.0, 2.0, 1.0, 2.0, 1.0]
    assert repeat_to_batch(pair, 1).tolist() == [1.0]
