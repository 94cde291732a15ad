"""Latents added, interpolated, joined, turned and cut: closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.latents.latent_mix import (
    add,
    crop,
    flip,
    interpolate,
    join,
    multiply,
    paste_masked,
    rotate,
    subtract,
    with_one_noise,
)
from latentloom.diffusion.latents.latents import Latent, repeat


def latent(batch: int = 1, height: int = 8, width: int = 12, seed: int = 0) -> Latent:
    generator = torch.Generator().manual_seed(seed)
    return Latent(torch.randn(batch, 4, height, width, generator=generator))


def test_sums_and_differences_undo_each_other() -> None:
    first, second = latent(2), latent(1, seed=1)
    assert torch.allclose(subtract(add(first, second), second).samples, first.samples, atol=1e-6)
    assert torch.equal(multiply(first, -2.0).samples, first.samples * -2)


def test_the_second_is_fitted_to_the_first() -> None:
    small = Latent(torch.full((1, 4, 3, 5), 2.0))
    assert torch.allclose(add(latent(2), small).samples, latent(2).samples + 2, atol=1e-6)


def test_interpolation_keeps_its_ends_and_lengths() -> None:
    first, second = latent(), latent(seed=1)
    assert torch.allclose(interpolate(first, second, 1.0).samples, first.samples, atol=1e-5)
    assert torch.allclose(interpolate(first, second, 0.0).samples, second.samples, atol=1e-5)
    half = torch.linalg.vector_norm(interpolate(first, second, 0.5).samples, dim=1)
    ends = [torch.linalg.vector_norm(each.samples, dim=1) for each in (first, second)]
    assert torch.allclose(half, (ends[0] + ends[1]) / 2, atol=1e-5)


def test_interpolation_of_nothing_is_nothing() -> None:
    zero = Latent(torch.zeros(1, 4, 2, 2))
    assert torch.equal(interpolate(zero, zero, 0.3).samples, zero.samples)


def test_joined_latents_keep_the_noise_they_would_have_alone() -> None:
    joined = join(latent(2), repeat(latent(1, seed=1), 2))
    assert joined.shape[0] == 4
    assert joined.batch_index == (0, 1, 0, 1)
    assert join(joined, latent()).batch_index == (0, 1, 0, 1, 0)


def test_a_batch_takes_the_noise_of_its_first() -> None:
    assert with_one_noise(latent(3)).batch_index == (0, 0, 0)
    assert with_one_noise(Latent(torch.zeros(2, 4, 2, 2), batch_index=(7, 8))).batch_index == (7, 7)


def test_turning_four_times_and_flipping_twice_change_nothing() -> None:
    turned = latent()
    for _ in range(4):
        turned = rotate(turned, 1)
    assert torch.equal(turned.samples, latent().samples)
    assert torch.equal(flip(flip(latent(), True), True).samples, latent().samples)
    assert torch.equal(rotate(latent(), 2).samples, flip(flip(latent(), True), False).samples)


def test_a_quarter_turn_is_clockwise() -> None:
    grid = Latent(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert rotate(grid, 1).samples[0, 0].tolist() == [[3.0, 1.0], [4.0, 2.0]]


@pytest.mark.parametrize(
    ("place", "rows", "columns"),
    [
        ((64, 64, 0, 0), slice(0, 8), slice(0, 8)),
        ((64, 64, 32, 16), slice(2, 10), slice(4, 12)),
        ((512, 512, 8, 8), slice(1, 16), slice(1, 20)),
        ((64, 64, 9999, 9999), slice(8, 16), slice(12, 20)),
    ],
)
def test_a_window_is_cut_at_the_edges(
    place: tuple[int, int, int, int], rows: slice, columns: slice
) -> None:
    whole = latent(1, 16, 20)
    assert torch.equal(crop(whole, *place).samples, whole.samples[..., rows, columns])


def test_a_mask_shows_a_part_of_what_is_pasted() -> None:
    target, source = latent(), Latent(torch.ones(1, 4, 4, 4))
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1.0
    got = paste_masked(target, source, 16, 8, mask, False).samples
    changed = got != target.samples
    want = torch.zeros_like(changed)
    want[..., 1:3, 2:6] = True
    assert torch.equal(changed, want)
    assert pasted_value(got, want) == {1.0}


def pasted_value(samples: Tensor, where: Tensor) -> set[float]:
    return set(samples[where].tolist())
