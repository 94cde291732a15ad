"""Conditioning entries fitted to a latent: their window, weight and range of sigmas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..schedules.model_sampling import ModelSampling
from .conditioning import PromptEntry
from .regions import Box, Region

EVERYWHERE = Region()


@dataclass(frozen=True, eq=False)
class FittedEntry:
    """An entry fitted to a latent.

    Attributes:
        side: 0 positive, 1 negative, 2 second.
        box: the window of the latent that the network sees for it.
        weight: B×1×h×w or 1×1×h×w over the window: the factor on its prediction.
        sigma_start, sigma_end: the highest and the lowest sigma at which it is active.
    """

    entry: PromptEntry
    side: int
    box: Box
    weight: Tensor
    sigma_start: float
    sigma_end: float


# An entry and its window, which may reach outside the latent; None is all of it.
Requested = tuple[PromptEntry, Box | None]


def fit_entries(
    sides: Sequence[Sequence[PromptEntry]], x: Tensor, sampling: ModelSampling
) -> list[FittedEntry]:
    """Fit the entries of each side to a latent B×C×h×w.

    For each area of one side, every other side gets an entry for the same area, with the prompt
    of its smallest entry that encloses it. Areas are compared before they are cut to the latent.
    """
    height, width = x.shape[-2:]
    requested = [
        [(entry, _region(entry).requested_box(height, width)) for entry in side] for side in sides
    ]
    for entries in requested:
        for others in requested:
            if others is not entries and others:
                others += _missing_areas(entries, others)
    return [
        _fit(entry, side, x, sampling)
        for side, entries in enumerate(requested)
        for entry, _ in entries
    ]


def _fit(entry: PromptEntry, side: int, x: Tensor, sampling: ModelSampling) -> FittedEntry:
    height, width = x.shape[-2:]
    region = _region(entry)
    box = region.cut_box(height, width)
    weight = region.weight(box, x) * entry.strength
    return FittedEntry(
        entry=entry,
        side=side,
        box=box or Box(height, width, 0, 0),
        weight=weight if weight.ndim == x.ndim else weight.unsqueeze(2),
        sigma_start=sampling.percent_to_sigma(entry.start),
        sigma_end=sampling.percent_to_sigma(entry.end),
    )


def _missing_areas(entries: list[Requested], others: list[Requested]) -> list[Requested]:
    """Return the entries that `others` lack for the areas of `entries`."""
    added: list[Requested] = []
    for entry, box in entries:
        if box is None:
            continue
        enclosing = [
            other for other in (*others, *added) if other[1] is None or other[1].encloses(box)
        ]
        if not enclosing:
            continue
        smallest, smallest_box = min(enclosing, key=lambda other: _cells(other[1]))
        if smallest_box != box:
            copy = replace(
                entry,
                tokens=smallest.tokens,
                pooled=smallest.pooled,
                inpaint=smallest.inpaint,
                image=smallest.image,
                sizes=smallest.sizes,
                guidance=smallest.guidance,
                references=smallest.references,
                reference_method=smallest.reference_method,
                biases=smallest.biases,
            )
            added.append((copy, box))
    return added


def _cells(box: Box | None) -> float:
    """Return the size of a box; an entry without an area is larger than any."""
    return float("inf") if box is None else box.height * box.width


def _region(entry: PromptEntry) -> Region:
    return entry.region or EVERYWHERE
