"""The tone of what was painted inside a mask, brought to that of the ring around it."""

from __future__ import annotations

import torch
from torch import Tensor

from .compose import repeat_to_batch
from .lab import to_lab, to_rgb
from .masks import grow

# Contrast is changed at most by this factor, or its inverse.
MAX_GAIN = 1.5
# A spread in Lab below which there is no contrast to speak of.
FLAT = 0.5


def fix_tone(
    image: Tensor, source: Tensor, mask: Tensor, ring_px: int, strength: float, whole: bool
) -> Tensor:
    """Shift and stretch Lab inside a mask, by what the ring around it tells.

    Args:
        image: B×H×W×C, painted, before it is pasted back.
        source: of the same size, as it was.
        mask: B×H×W of the same size, more than 0.5 is inside.
        ring_px: width of the ring.
        strength: share of the change.
        whole: measure the drift of the painted image's own ring against the source's and take
            it out everywhere; otherwise give the inside the mean and spread of the source's ring.

    Returns:
        The image; where there is no ring or no inside it is as it was.
    """
    batch = max(len(image), len(source), len(mask))
    image, source, mask = (repeat_to_batch(each, batch) for each in (image, source, mask))
    inside = mask > 0.5
    ring = (grow(inside.float(), ring_px, tapered=False) > 0) & ~inside
    painted, known = to_lab(image), to_lab(source)
    result = image.clone()
    for index in range(len(image)):
        around, within = ring[index], inside[index]
        measured = around if whole else within
        if not bool(around.any()) or not bool(within.any()):
            continue
        fixed = _matched(painted[index], painted[index][measured], known[index][around])
        share = torch.ones_like(mask[index]) if whole else mask[index]
        share = (share * strength).unsqueeze(-1)
        color = image[index, ..., :3]
        result[index, ..., :3] = torch.where(
            share == 0, color, color + (to_rgb(fixed) - color) * share
        )
    return result


def _matched(lab: Tensor, measured: Tensor, expected: Tensor) -> Tensor:
    """All colours, moved as takes the measured ones to the mean and spread of the wanted ones."""
    spreads = [colors.std(dim=0, correction=0) for colors in (measured, expected)]
    gain = (spreads[1] / spreads[0].clamp(min=FLAT)).clamp(1 / MAX_GAIN, MAX_GAIN)
    gain = torch.where(spreads[0] < FLAT, torch.ones_like(gain), gain)
    return (lab - measured.mean(dim=0)) * gain + expected.mean(dim=0)
