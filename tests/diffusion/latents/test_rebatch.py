"""Batches cut anew: order, sizes, masks and draws of noise, in closed form."""

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
    """Batches B×1×side×side whose values are the place in the whole."""
    made, passed = [], 0
    for count, side in batches:
        values = torch.arange(passed, passed + count, dtype=torch.float32)
        made.append(values.reshape(-1, 1, 1, 1).repeat(1, 1, side, side))
        passed += count
    return made


@given(batches=BATCHES, size=st.integers(1, 5))
def test_nothing_is_lost_and_only_a_change_of_size_leaves_a_batch_short(
    batches: list[tuple[int, int]], size: int
) -> None:
    cut = rebatch_images(numbered(batches), size)
    total = sum(count for count, _ in batches)
    assert [int(each[0, 0, 0]) for part in cut for each in part] == [*range(total)]
    assert all(1 <= len(part) <= size for part in cut)
    pairs = pairwise(cut)
    assert all(len(a) == size or a.shape[1:] != b.shape[1:] for a, b in pairs)


@given(batches=BATCHES, size=st.integers(1, 5))
def test_latents_are_cut_as_images_are_and_take_the_noise_of_their_place(
    batches: list[tuple[int, int]], size: int
) -> None:
    whole = numbered(batches)
    cut = rebatch_latents([Latent(each) for each in whole], size)
    images = rebatch_images(whole, size)
    assert all(torch.equal(a.samples, b) for a, b in zip(cut, images, strict=True))
    assert [part.batch_index for part in cut] == [
        tuple(int(each[0, 0, 0]) for each in part) for part in images
    ]
    assert all(part.noise_mask is None for part in cut)


def test_a_draw_of_its_own_is_kept() -> None:
    first = Latent(torch.zeros(2, 4, 2, 2), batch_index=(7, 7))
    cut = rebatch_latents([first, Latent(torch.zeros(1, 4, 2, 2))], 2)
    assert [part.batch_index for part in cut] == [(7, 7), (2,)]


def test_masks_come_in_the_size_of_the_image_and_only_where_something_is_kept() -> None:
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


def test_families_do_not_lie_together() -> None:
    latents = [Latent(torch.zeros(1, 4, 2, 2), family=name) for name in ("sd15", "sdxl")]
    assert [part.family for part in rebatch_latents(latents, 2)] == ["sd15", "sdxl"]
