"""Latents added, interpolated, joined, rotated and cropped: closed forms."""

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


def test_sum_and_difference_are_inverse() -> None:
    first, second = latent(2), latent(1, seed=1)
    assert torch.allclose(subtract(add(first, second), second).samples, first.samples, atol=1e-6)
    assert torch.equal(multiply(first, -2.0).samples, first.samples * -2)


def test_the_second_is_resized_to_the_first() -> None:
    small = Latent(torch.full((1, 4, 3, 5), 2.0))
    assert torch.allclose(add(latent(2), small).samples, latent(2).samples + 2, atol=1e-6)


def test_interpolation_keeps_its_ends_and_lengths() -> None:
    first, second = latent(), latent(seed=1)
    assert torch.allclose(interpolate(first, second, 1.0).samples, first.samples, atol=1e-5)
    assert torch.allclose(interpolate(first, second, 0.0).samples, second.samples, atol=1e-5)
    half = torch.linalg.vector_norm(interpolate(first, second, 0.5).samples, dim=1)
    ends = [torch.linalg.vector_norm(end.samples, dim=1) for end in (first, second)]
    assert torch.allclose(half, (ends[0] + ends[1]) / 2, atol=1e-5)


def test_interpolation_of_zeros_is_zero() -> None:
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


def test_four_rotations_or_two_flips_change_nothing() -> None:
    rotated = latent()
    for _ in range(4):
        rotated = rotate(rotated, 1)
    assert torch.equal(rotated.samples, latent().samples)
    assert torch.equal(flip(flip(latent(), True), True).samples, latent().samples)
    assert torch.equal(rotate(latent(), 2).samples, flip(flip(latent(), True), False).samples)


def test_a_quarter_turn_is_clockwise() -> None:
    grid = Latent(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert rotate(grid, 1).samples[0, 0].tolist() == [[3.0, 1.0], [4.0, 2.0]]


@pytest.mark.parametrize(
    ("window", "rows", "columns"),
    [
        ((64, 64, 0, 0), slice(0, 8), slice(0, 8)),
        ((64, 64, 32, 16), slice(2, 10), slice(4, 12)),
        ((512, 512, 8, 8), slice(1, 16), slice(1, 20)),
        ((64, 64, 9999, 9999), slice(8, 16), slice(12, 20)),
    ],
)
def test_a_crop_is_clipped_at_the_edges(
    window: tuple[int, int, int, int], rows: slice, columns: slice
) -> None:
    full = latent(1, 16, 20)
    assert torch.equal(crop(full, *window).samples, full.samples[..., rows, columns])


def test_a_mask_shows_part_of_the_pasted_latent() -> None:
    target, source = latent(), Latent(torch.ones(1, 4, 4, 4))
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1.0
    got = paste_masked(target, source, 16, 8, mask, False).samples
    changed = got != target.samples
    expected = torch.zeros_like(changed)
    expected[..., 1:3, 2:6] = True
    assert torch.equal(changed, expected)
    assert pasted_values(got, expected) == {1.0}


def pasted_values(samples: Tensor, mask: Tensor) -> set[float]:
    return set(samples[mask].tolist())
