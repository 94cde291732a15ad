"""Matching the tone inside a mask to the ring around it."""

from __future__ import annotations

import torch
from torch import Tensor

from .compose import repeat_to_batch
from .lab import to_lab, to_rgb
from .masks import grow

# Largest change of contrast, as a factor or its inverse.
MAX_GAIN = 1.5
# Standard deviation in Lab below which a region counts as flat, without contrast to match.
MIN_SPREAD = 0.5


def fix_tone(
    image: Tensor, source: Tensor, mask: Tensor, ring_px: int, strength: float, fix_drift: bool
) -> Tensor:
    """Match mean and standard deviation in Lab inside a mask to the ring around it.

    Args:
        image: inpainted images B×H×W×C, before they are pasted back.
        source: the original images, of the same size.
        mask: B×H×W of the same size; above 0.5 is inside.
        ring_px: width of the ring.
        strength: strength of the correction, 0 to 1.
        fix_drift: compare the ring in both images, and remove the difference everywhere;
            otherwise match the inside to the source's ring.

    Returns:
        The images; unchanged if the ring or the inside is empty.
    """
    batch = max(len(image), len(source), len(mask))
    image, source, mask = (repeat_to_batch(part, batch) for part in (image, source, mask))
    inside = mask > 0.5
    ring = (grow(inside.float(), ring_px, tapered=False) > 0) & ~inside
    lab, source_lab = to_lab(image), to_lab(source)
    result = image.clone()
    for index in range(len(image)):
        around, within = ring[index], inside[index]
        if not bool(around.any()) or not bool(within.any()):
            continue
        measured = lab[index][around if fix_drift else within]
        fixed = _match(lab[index], measured, source_lab[index][around])
        weight = torch.ones_like(mask[index]) if fix_drift else mask[index]
        weight = (weight * strength).unsqueeze(-1)
        color = image[index, ..., :3]
        result[index, ..., :3] = torch.where(
            weight == 0, color, color + (to_rgb(fixed) - color) * weight
        )
    return result


def _match(lab: Tensor, measured: Tensor, target: Tensor) -> Tensor:
    """Apply to all colours the change that gives the measured ones the target's mean and spread."""
    spreads = [colors.std(dim=0, correction=0) for colors in (measured, target)]
    gain = (spreads[1] / spreads[0].clamp(min=MIN_SPREAD)).clamp(1 / MAX_GAIN, MAX_GAIN)
    gain = torch.where(spreads[0] < MIN_SPREAD, torch.ones_like(gain), gain)
    return (lab - measured.mean(dim=0)) * gain + target.mean(dim=0)
