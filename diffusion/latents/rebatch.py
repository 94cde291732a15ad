"""Batches put together and cut anew. What lies together must be of one size; order is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from ..images.compose import repeat_to_batch
from ..images.resize import resize_mask
from .latents import CELL_PX, Latent


def rebatch_images(batches: Iterable[Tensor], size: int) -> list[Tensor]:
    """Batches B×H×W×C of at most `size` images; a new one begins where the size changes."""
    runs = groupby(batches, key=lambda batch: batch.shape[1:])
    return [part for _, run in runs for part in torch.split(torch.cat([*run]), size)]


def rebatch_latents(latents: Iterable[Latent], size: int) -> list[Latent]:
    """Batches of at most `size` latents; a new one begins where the size or the family changes.

    Each latent has the noise of its place in the whole, unless it has a draw of its own already.
    Masks come in the size of the image; a batch that may change everywhere has none.
    """
    runs = groupby(_placed(latents), key=lambda placed: (placed.shape[1:], placed.latent.family))
    return [part for _, run in runs for part in _cut([*run], size)]


@dataclass(frozen=True)
class _Placed:
    """A batch of latents, and the draw of noise of each."""

    latent: Latent
    draws: tuple[int, ...]

    @property
    def shape(self) -> torch.Size:
        return self.latent.shape

    @property
    def mask(self) -> Tensor:
        """A mask for each latent, in the size of the image."""
        count, _, height, width = self.shape
        if self.latent.noise_mask is None:
            return torch.ones(count, height * CELL_PX, width * CELL_PX)
        mask = resize_mask(self.latent.noise_mask, width * CELL_PX, height * CELL_PX)
        return repeat_to_batch(mask, count)


def _placed(latents: Iterable[Latent]) -> Iterator[_Placed]:
    passed = 0
    for latent in latents:
        count = latent.shape[0]
        yield _Placed(latent, latent.batch_index or tuple(range(passed, passed + count)))
        passed += count


def _cut(run: Sequence[_Placed], size: int) -> Iterator[Latent]:
    samples = torch.split(torch.cat([placed.latent.samples for placed in run]), size)
    masked = any(placed.latent.noise_mask is not None for placed in run)
    masks = torch.split(torch.cat([placed.mask for placed in run]), size) if masked else ()
    draws = [draw for placed in run for draw in placed.draws]
    for number, part in enumerate(samples):
        mask = masks[number] if masked and bool((masks[number] < 1).any()) else None
        index = tuple(draws[number * size : number * size + len(part)])
        yield replace(run[0].latent, samples=part, noise_mask=mask, batch_index=index)
