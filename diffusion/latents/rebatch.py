"""Split and merge batches in order; a batch has one size."""

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
    """Return batches B×H×W×C of at most `size` images; a change of size starts a new batch."""
    runs = groupby(batches, key=lambda batch: batch.shape[1:])
    return [part for _, run in runs for part in torch.split(torch.cat([*run]), size)]


def rebatch_latents(latents: Iterable[Latent], size: int) -> list[Latent]:
    """Return batches of at most `size` latents; a change of size or family starts a new batch.

    A latent without a batch index gets the noise of its position in the sequence. Masks have the
    size of the image; a batch that may change everywhere has none.
    """
    indexed = _index_noise(latents)
    runs = groupby(indexed, key=lambda batch: (batch.shape[1:], batch.latent.family))
    return [part for _, run in runs for part in _split([*run], size)]


@dataclass(frozen=True)
class _IndexedBatch:
    """A batch of latents, and the noise index of each."""

    latent: Latent
    noise_indices: tuple[int, ...]

    @property
    def shape(self) -> torch.Size:
        return self.latent.shape

    @property
    def mask(self) -> Tensor:
        """A mask for each latent in the size of the image."""
        count, _, height, width = self.shape
        if self.latent.noise_mask is None:
            return torch.ones(count, height * CELL_PX, width * CELL_PX)
        mask = resize_mask(self.latent.noise_mask, width * CELL_PX, height * CELL_PX)
        return repeat_to_batch(mask, count)


def _index_noise(latents: Iterable[Latent]) -> Iterator[_IndexedBatch]:
    start = 0
    for latent in latents:
        count = latent.shape[0]
        yield _IndexedBatch(latent, latent.batch_index or tuple(range(start, start + count)))
        start += count


def _split(run: Sequence[_IndexedBatch], size: int) -> Iterator[Latent]:
    samples = torch.split(torch.cat([batch.latent.samples for batch in run]), size)
    is_masked = any(batch.latent.noise_mask is not None for batch in run)
    masks = torch.split(torch.cat([batch.mask for batch in run]), size) if is_masked else ()
    noise_indices = [index for batch in run for index in batch.noise_indices]
    for number, part in enumerate(samples):
        mask = masks[number] if is_masked and bool((masks[number] < 1).any()) else None
        indices = tuple(noise_indices[number * size : number * size + len(part)])
        yield replace(run[0].latent, samples=part, noise_mask=mask, batch_index=indices)
