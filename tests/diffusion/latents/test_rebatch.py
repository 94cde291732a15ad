"""Batches split and merged: order, sizes, masks and noise, in closed form."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.latents.rebatch import rebatch_images, rebatch_latents

# (images in a batch, side in cells)
BATCHES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), max_size=5)


def numbered(batches: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Return batches B×1×side×side whose values are the position in the sequence."""
    result, start = [], 0
    for count, side in batches:
        values = torch.arange(start, start + count, dtype=torch.float32)
        result.append(values.reshape(-1, 1, 1, 1).repeat(1, 1, side, side))
        start += count
    return result


@given(batches=BATCHES, size=st.integers(1, 5))
def test_nothing_is_lost_and_only_a_change_of_size_leaves_a_batch_short(
    batches: list[tuple[int, int]], size: int
) -> None:
    parts = rebatch_images(numbered(batches), size)
    total = sum(count for count, _ in batches)
    assert [int(image[0, 0, 0]) for part in parts for image in part] == [*range(total)]
    assert all(1 <= len(part) <= size for part in parts)
    pairs = pairwise(parts)
    assert all(len(a) == size or a.shape[1:] != b.shape[1:] for a, b in pairs)


@given(batches=BATCHES, size=st.integers(1, 5))
def test_latents_are_split_like_images_and_get_the_noise_of_their_position(
    batches: list[tuple[int, int]], size: int
) -> None:
    samples = numbered(batches)
    parts = rebatch_latents([Latent(batch) for batch in samples], size)
    images = rebatch_images(samples, size)
    assert all(torch.equal(a.samples, b) for a, b in zip(parts, images, strict=True))
    assert [part.batch_index for part in parts] == [
        tuple(int(image[0, 0, 0]) for image in part) for part in images
    ]
    assert all(part.noise_mask is None for part in parts)


def test_an_existing_batch_index_is_kept() -> None:
    first = Latent(torch.zeros(2, 4, 2, 2), batch_index=(7, 7))
    parts = rebatch_latents([first, Latent(torch.zeros(1, 4, 2, 2))], 2)
    assert [part.batch_index for part in parts] == [(7, 7), (2,)]


def test_masks_have_the_size_of_the_image_and_are_left_out_if_they_cover_everything() -> None:
    half = torch.zeros(1, 4, 4)
    half[:, :, 2:] = 1
    latents = [Latent(torch.zeros(2, 4, 2, 2), half), Latent(torch.zeros(2, 4, 2, 2))]
    masked, free = rebatch_latents(latents, 2)
    assert masked.noise_mask is not None
    assert masked.noise_mask.shape == (2, 16, 16)
    assert torch.equal(masked.noise_mask[:, :, (0, 15)], torch.tensor([0.0, 1.0]).expand(2, 16, 2))
    assert free.noise_mask is None
    (both,) = rebatch_latents(latents, 4)
    assert both.noise_mask is not None
    assert both.noise_mask[2:].min() == 1


def test_families_are_not_mixed() -> None:
    latents = [Latent(torch.zeros(1, 4, 2, 2), family=name) for name in ("sd15", "sdxl")]
    assert [part.family for part in rebatch_latents(latents, 2)] == ["sd15", "sdxl"]
