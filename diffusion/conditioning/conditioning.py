"""Conditioning: what guides a model, as a tuple of frozen entries. Operations give new ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..networks.control import Control
from .inpaint import InpaintMask
from .regions import Area, Region


@dataclass(frozen=True)
class Sizes:
    """What SDXL is told beside the prompt; None is as large as what is sampled, or the default.

    Attributes:
        width, height: of the image before it was cut, in pixels.
        crop_w, crop_h: what was cut off at its left and at its top.
        target_width, target_height: of what was left.
        score: how pleasing it is, 0 to 10, for the refiner.
    """

    width: int | None = None
    height: int | None = None
    crop_w: int = 0
    crop_h: int = 0
    target_width: int | None = None
    target_height: int | None = None
    score: float | None = None


@dataclass(frozen=True, eq=False)
class PromptEntry:
    """One encoded prompt and where it holds.

    Attributes:
        tokens: 1×n×d float32.
        pooled: 1×d, where the encoder gives one.
        start, end: shares of the way from noise (0) to image (1) between which it is active.
        strength: its weight among the entries of its side.
        controls: what guides the network beside it; their effects add up.
        inpaint: what an inpainting model is told; other models leave it.
        image: B×C×h×w in unscaled VAE space, what an editing model changes.
        sizes: what SDXL is told too; None is its defaults.
        region: where in the image it holds; None is everywhere.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    start: float = 0.0
    end: float = 1.0
    strength: float = 1.0
    controls: tuple[Control, ...] = ()
    inpaint: InpaintMask | None = None
    image: Tensor | None = None
    sizes: Sizes | None = None
    region: Region | None = None


Conditioning = tuple[PromptEntry, ...]


def concat(to: Conditioning, source: Conditioning) -> Conditioning:
    """The tokens of the first entry of `source` after those of each entry of `to`."""
    tail = source[0].tokens
    return tuple(replace(each, tokens=torch.cat([each.tokens, tail], dim=1)) for each in to)


def average(to: Conditioning, source: Conditioning, share: float) -> Conditioning:
    """`share` of each entry of `to` and the rest of the first entry of `source`.

    The latter's tokens are cut, or filled with zeros, to the length of the former's.
    """
    return tuple(_average(each, source[0], share) for each in to)


def _average(to: PromptEntry, source: PromptEntry, share: float) -> PromptEntry:
    length = to.tokens.shape[1]
    other = source.tokens[:, :length]
    if other.shape[1] < length:
        rest = other.new_zeros(len(other), length - other.shape[1], other.shape[2])
        other = torch.cat([other, rest], dim=1)
    tokens = to.tokens * share + other * (1 - share)
    pooled = source.pooled if to.pooled is None else to.pooled
    if to.pooled is not None and source.pooled is not None:
        pooled = to.pooled * share + source.pooled * (1 - share)
    return replace(to, tokens=tokens, pooled=pooled)


def zero_out(conditioning: Conditioning) -> Conditioning:
    """The same entries with all their numbers 0."""
    return tuple(
        replace(
            each,
            tokens=torch.zeros_like(each.tokens),
            pooled=None if each.pooled is None else torch.zeros_like(each.pooled),
        )
        for each in conditioning
    )


def with_range(conditioning: Conditioning, start: float, end: float) -> Conditioning:
    """The same entries, active between two shares of the way only."""
    return tuple(replace(each, start=start, end=end) for each in conditioning)


def with_control(conditioning: Conditioning, control: Control) -> Conditioning:
    """The same entries, each controlled too."""
    return tuple(replace(each, controls=(*each.controls, control)) for each in conditioning)


def share_controls(positive: Conditioning, negative: Conditioning) -> Conditioning:
    """The negative entries; those without controls take those that are for both sides."""
    given = [each.controls for each in positive if any(one.both_sides for one in each.controls)]
    if not given:
        return negative
    return tuple(
        each if each.controls else replace(each, controls=given[index % len(given)])
        for index, each in enumerate(negative)
    )


def with_inpaint_mask(conditioning: Conditioning, inpaint: InpaintMask) -> Conditioning:
    """The same entries, telling an inpainting model what to fill."""
    return tuple(replace(each, inpaint=inpaint) for each in conditioning)


def with_image(conditioning: Conditioning, image: Tensor) -> Conditioning:
    """The same entries, showing an editing model the latent of what to change."""
    return tuple(replace(each, image=image) for each in conditioning)


def with_area(conditioning: Conditioning, area: Area, strength: float) -> Conditioning:
    """The same entries, each asked for an area only; a mask that they have stays."""
    return tuple(
        replace(
            each,
            strength=strength,
            region=replace(each.region or Region(), area=area, bounds=False),
        )
        for each in conditioning
    )


def with_strength(conditioning: Conditioning, strength: float) -> Conditioning:
    """The same entries, each of this weight among those of its side."""
    return tuple(replace(each, strength=strength) for each in conditioning)


def with_mask(
    conditioning: Conditioning, mask: Tensor, strength: float, bounds: bool
) -> Conditioning:
    """The same entries, each as much as a mask B×H×W says; an area that they have stays.

    Args:
        strength: what the mask is multiplied with.
        bounds: ask for the smallest area that holds the mask.
    """
    return tuple(
        replace(
            each,
            region=replace(
                each.region or Region(), mask=mask, mask_strength=strength, bounds=bounds
            ),
        )
        for each in conditioning
    )
