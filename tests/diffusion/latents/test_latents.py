"""Latent operations in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.diffusion.latents.latents import (
    Latent,
    blend,
    make_empty,
    paste,
    repeat,
    select,
    upscale,
    upscale_by,
)


def numbered(batch: int = 3, mask_batch: int = 3, index: tuple[int, ...] | None = None) -> Latent:
    """Return latents and masks whose values are their position in the batch."""
    samples = torch.arange(float(batch)).reshape(batch, 1, 1, 1).expand(batch, 4, 2, 2)
    mask = torch.arange(float(mask_batch)).reshape(mask_batch, 1, 1).expand(mask_batch, 16, 16)
    return Latent(samples, mask, index, "tiny")


def positions(latent: Latent) -> list[float]:
    return latent.samples[:, 0, 0, 0].tolist()


def mask_positions(latent: Latent) -> list[float]:
    assert latent.noise_mask is not None
    return latent.noise_mask[:, 0, 0].tolist()


def test_empty_latents_are_zeros_of_whole_cells() -> None:
    latent = make_empty(100, 64, 2, 4, "tiny")
    assert latent.shape == (2, 4, 8, 12)
    assert not latent.samples.any()
    assert latent.family == "tiny"


@pytest.mark.parametrize(
    ("width", "height", "cells"),
    [
        (200, 120, (25, 15)),
        (0, 0, (2, 2)),
        (0, 128, (16, 16)),
        (128, 0, (16, 16)),
        (8, 8, (8, 8)),
        (0, 8, (8, 8)),
    ],
)
def test_upscale_sizes(width: int, height: int, cells: tuple[int, int]) -> None:
    assert upscale(numbered(), "bilinear", width, height).shape[-2:] == cells[::-1]


def test_upscale_keeps_mask_index_and_family() -> None:
    latent = numbered(index=(4, 5, 6))
    resized = upscale(latent, "area", 128, 64)
    assert resized.noise_mask is latent.noise_mask
    assert (resized.batch_index, resized.family) == ((4, 5, 6), "tiny")


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 8.0), st.integers(1, 12), st.integers(1, 12))
def test_upscale_by_rounds_to_at_least_a_cell(factor: float, height: int, width: int) -> None:
    resized = upscale_by(Latent(torch.zeros(1, 4, height, width)), "nearest-exact", factor)
    assert resized.shape[-2:] == (max(1, round(height * factor)), max(1, round(width * factor)))


def test_blend_is_linear_in_the_share_of_the_first() -> None:
    first, second = Latent(torch.full((1, 4, 2, 2), 8.0)), Latent(torch.full((1, 4, 2, 2), 4.0))
    assert torch.equal(blend(first, second, 0.25).samples, torch.full((1, 4, 2, 2), 5.0))


def test_blend_resizes_the_second_to_the_first() -> None:
    mixed = blend(Latent(torch.zeros(1, 4, 6, 4)), Latent(torch.ones(1, 4, 3, 9)), 0.5)
    torch.testing.assert_close(mixed.samples, torch.full((1, 4, 6, 4), 0.5))


def test_blend_of_one_with_many_gives_many_without_a_batch_index() -> None:
    one = Latent(torch.zeros(1, 4, 2, 2), batch_index=(7,))
    mixed = blend(one, numbered(), 0.5)
    assert positions(mixed) == [0.0, 0.5, 1.0]
    assert mixed.batch_index is None


def test_paste_replaces_cells_and_is_clipped_to_the_target() -> None:
    pasted = paste(Latent(torch.zeros(1, 1, 3, 4)), Latent(torch.ones(1, 1, 2, 3)), 2, 2)
    assert pasted.samples[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_paste_outside_changes_nothing() -> None:
    target = Latent(torch.zeros(1, 1, 3, 4))
    assert torch.equal(paste(target, Latent(torch.ones(1, 1, 2, 3)), 4, 0).samples, target.samples)


def test_feather_ramps_only_on_edges_inside_the_target() -> None:
    pasted = paste(Latent(torch.zeros(1, 1, 1, 9)), Latent(torch.ones(1, 1, 1, 6)), 3, 0, 2)
    torch.testing.assert_close(
        pasted.samples.flatten(), torch.tensor([0, 0, 0, 0.5, 1, 1, 1, 1, 1], dtype=torch.float32)
    )


def test_feathers_of_both_ends_multiply() -> None:
    pasted = paste(Latent(torch.zeros(1, 1, 1, 5)), Latent(torch.ones(1, 1, 1, 3)), 1, 0, 4)
    torch.testing.assert_close(pasted.samples.flatten(), torch.tensor([0, 0.1875, 0.25, 0.1875, 0]))


def test_repeat_repeats_masks_and_continues_the_noise_indices() -> None:
    repeated = repeat(numbered(index=(2, 3, 5)), 2)
    assert positions(repeated) == [0, 1, 2, 0, 1, 2]
    assert mask_positions(repeated) == [0, 1, 2, 0, 1, 2]
    assert repeated.batch_index == (2, 3, 5, 6, 7, 9)


def test_repeat_keeps_a_single_mask_single() -> None:
    assert mask_positions(repeat(numbered(mask_batch=1), 3)) == [0]


def test_repeat_first_extends_masks_to_the_batch() -> None:
    assert mask_positions(repeat(numbered(mask_batch=2), 2)) == [0, 1, 0, 0, 1, 0]


def test_select_keeps_the_noise_of_the_full_batch() -> None:
    part = select(numbered(), 1, 2)
    assert positions(part) == mask_positions(part) == [1, 2]
    assert part.batch_index == (1, 2)


def test_select_uses_an_existing_batch_index() -> None:
    assert select(numbered(index=(9, 4, 4)), 1, 1).batch_index == (4,)


def test_select_past_the_end_gives_the_last() -> None:
    part = select(numbered(mask_batch=1), 63, 64)
    assert (positions(part), mask_positions(part)) == ([2], [0])


def test_select_after_repeat_gives_every_latent_its_own_noise() -> None:
    assert select(repeat(select(numbered(), 1, 1), 3), 2, 1).batch_index == (3,)
