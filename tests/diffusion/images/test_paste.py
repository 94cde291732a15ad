"""Grown masks and pastes: what they cover, and what they do not change."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.diffusion.images import masks
from latentloom.diffusion.images.paste import grow_and_fade, paste


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_fade_falls_in_equal_steps() -> None:
    mask = torch.zeros(1, 1, 9)
    mask[0, 0, 4] = 1.0
    assert grow_and_fade(mask, 3, 3)[0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    assert grow_and_fade(mask, 2, 0)[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert grow_and_fade(mask, 0, 0).equal(mask)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 99), grow=st.integers(0, 5), blend=st.integers(0, 5))
def test_a_grown_mask_covers_the_mask_and_no_more_than_its_reach(
    seed: int, grow: int, blend: int
) -> None:
    mask = rand(2, 7, 9, seed=seed)
    mask = torch.where(mask > 0.8, mask, torch.zeros_like(mask))
    width = grow_and_fade(mask, max(grow, blend), blend)
    assert bool((width >= mask).all())
    beyond = masks.grow(mask, max(grow, blend), tapered=False) == 0
    assert bool((width[beyond] == 0).all())
    assert float(width.max()) <= 1.0


def test_where_the_opacity_is_0_nan_does_not_spread() -> None:
    source, changed = rand(1, 4, 5, 3), torch.full((1, 4, 5, 3), torch.nan)
    share = torch.zeros(1, 4, 5)
    assert torch.equal(paste(source, changed, share), source)


def test_where_the_opacity_is_1_the_change_is_exact() -> None:
    source, changed = rand(2, 4, 5, 3), rand(2, 4, 5, 3, seed=1)
    assert torch.equal(paste(source, changed, torch.ones(1, 4, 5)), changed)


def test_a_grey_part_changes_all_colours_but_not_alpha() -> None:
    source, changed = rand(1, 4, 5, 4), rand(1, 4, 5, 1, seed=1)
    result = paste(source, changed, torch.ones(1, 4, 5))
    assert torch.equal(result[..., :3], changed.expand(-1, -1, -1, 3))
    assert torch.equal(result[..., 3], source[..., 3])


def test_a_part_is_pasted_at_its_position_in_each_image_of_a_batch() -> None:
    source, changed = rand(1, 6, 7, 4), rand(3, 2, 3, 3, seed=1)
    result = paste(source, changed, torch.full((1, 2, 3), 0.5), 4, 3)
    assert result.shape == (3, 6, 7, 4)
    inside = result[:, 3:5, 4:7]
    torch.testing.assert_close(inside[..., :3], (changed + source[:, 3:5, 4:7, :3]) / 2)
    assert torch.equal(inside[..., 3], source[:, 3:5, 4:7, 3].repeat(3, 1, 1))
    result[:, 3:5, 4:7] = source[:, 3:5, 4:7]
    assert torch.equal(result, source.repeat(3, 1, 1, 1))
