"""Prompts placed on a latent: the window that each is asked for, and how much it counts there."""

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
    """An entry on a latent.

    Attributes:
        side: 0 positive, 1 negative, 2 second.
        box: the window of the latent that the network is given for it.
        weight: B×1×h×w or 1×1×h×w over the window: what its answer is multiplied with.
        high, low: the noise levels between which it is active, both included.
    """

    entry: PromptEntry
    side: int
    box: Box
    weight: Tensor
    high: float
    low: float


def fit_entries(
    sides: Sequence[Sequence[PromptEntry]], x: Tensor, sampling: ModelSampling
) -> list[FittedEntry]:
    """The entries of each side on a latent B×C×h×w.

    Where one side has an area, each other side is asked for the same area too, with the prompt
    of its smallest entry that encloses it. Areas are compared as they were asked for, with what
    of them lies outside of the latent.
    """
    height, width = x.shape[-2:]
    whole = Box(height, width, 0, 0)
    known = [[(entry, _region(entry).expected(height, width)) for entry in side] for side in sides]
    for mine in known:
        for other in known:
            if other is not mine and other:
                other += _opposites(mine, other)
    level = sampling.percent_to_sigma
    return [
        FittedEntry(
            entry,
            side,
            _region(entry).box(height, width) or whole,
            _weight(entry, x),
            level(entry.start),
            level(entry.end),
        )
        for side, entries in enumerate(known)
        for entry, _ in entries
    ]


Known = list[tuple[PromptEntry, Box | None]]


def _opposites(mine: Known, other: Known) -> Known:
    """What the other side lacks to be asked for each area of mine."""
    found: Known = []
    for entry, box in mine:
        if box is None:
            continue
        around = [each for each in (*other, *found) if each[1] is None or each[1].encloses(box)]
        if not around:
            continue
        smallest = min(around, key=lambda each: _cells(each[1]))
        if smallest[1] != box:
            asked = replace(
                entry,
                tokens=smallest[0].tokens,
                pooled=smallest[0].pooled,
                inpaint=smallest[0].inpaint,
                image=smallest[0].image,
                sizes=smallest[0].sizes,
            )
            found.append((asked, box))
    return found


def _cells(box: Box | None) -> float:
    """Its size; an entry without an area is larger than any that has one."""
    return float("inf") if box is None else box.height * box.width


def _region(entry: PromptEntry) -> Region:
    return entry.region or EVERYWHERE


def _weight(entry: PromptEntry, x: Tensor) -> Tensor:
    region = _region(entry)
    return region.weight(region.box(*x.shape[-2:]), x) * entry.strength
