"""Conditioning: a tuple of frozen entries, each a prompt and its extras; functions copy them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..families.conditions import GuidanceValue, InpaintMask, Sizes, TokenBias
from ..networks.control import Control
from .regions import Area, Region

# A strength of 0 as a bias would be minus infinity.
MIN_STRENGTH = 1e-30


@dataclass(frozen=True, eq=False)
class PromptEntry:
    """One encoded prompt, its extras and its range.

    Attributes:
        tokens: 1×n×d float32.
        pooled: 1×d, if the encoder gives one.
        start, end: shares of the schedule, noise (0) to image (1), between which it is active.
        strength: its weight among the entries of its side.
        controls: ControlNets; their effects add up.
        inpaint: mask and image for inpainting models; others ignore it.
        image: B×C×h×w in unscaled VAE space, for editing models.
        sizes: size conditioning of SDXL; None is its defaults.
        region: the part of the image that it applies to; None is all of it.
        guidance: for distilled networks that take it as a number.
        references: B×C×h×w each, in unscaled VAE space, of images to refer to.
        reference_method: how they are positioned; None is the family's.
        biases: on the attention to ranges of its tokens, for transformers over text and image.
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
    guidance: GuidanceValue = "default"
    references: tuple[Tensor, ...] = ()
    reference_method: str | None = None
    biases: tuple[TokenBias, ...] = ()


Conditioning = tuple[PromptEntry, ...]


def concat(to: Conditioning, source: Conditioning) -> Conditioning:
    """Append the tokens of the first entry of `source` to those of every entry of `to`."""
    tail = source[0].tokens
    return tuple(replace(entry, tokens=torch.cat([entry.tokens, tail], dim=1)) for entry in to)


def average(to: Conditioning, source: Conditioning, share: float) -> Conditioning:
    """Mix `share` of every entry of `to` with the rest of the first entry of `source`.

    The tokens of `source` are cut, or padded with zeros, to the length of those of `to`.
    """
    return tuple(_average(entry, source[0], share) for entry in to)


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
    """Return the entries with tokens and pooled encoding of zeros."""
    return tuple(
        replace(
            entry,
            tokens=torch.zeros_like(entry.tokens),
            pooled=None if entry.pooled is None else torch.zeros_like(entry.pooled),
        )
        for entry in conditioning
    )


def multiply(conditioning: Conditioning, factor: float) -> Conditioning:
    """Return the entries with tokens and pooled encoding times a factor."""
    return tuple(
        replace(
            entry,
            tokens=entry.tokens * factor,
            pooled=None if entry.pooled is None else entry.pooled * factor,
        )
        for entry in conditioning
    )


def with_range(conditioning: Conditioning, start: float, end: float) -> Conditioning:
    """Return the entries, active only between two shares of the schedule."""
    return tuple(replace(entry, start=start, end=end) for entry in conditioning)


def with_control(conditioning: Conditioning, control: Control) -> Conditioning:
    """Return the entries with another ControlNet."""
    return tuple(replace(entry, controls=(*entry.controls, control)) for entry in conditioning)


def share_controls(positive: Conditioning, negative: Conditioning) -> Conditioning:
    """Return the negative entries; those without controls get the positive ones for both sides."""
    given = [entry.controls for entry in positive if any(one.both_sides for one in entry.controls)]
    if not given:
        return negative
    return tuple(
        entry if entry.controls else replace(entry, controls=given[index % len(given)])
        for index, entry in enumerate(negative)
    )


def with_inpaint_mask(conditioning: Conditioning, inpaint: InpaintMask) -> Conditioning:
    """Return the entries with mask and image for inpainting models."""
    return tuple(replace(entry, inpaint=inpaint) for entry in conditioning)


def with_image(conditioning: Conditioning, image: Tensor) -> Conditioning:
    """Return the entries with a latent for editing models."""
    return tuple(replace(entry, image=image) for entry in conditioning)


def with_guidance(conditioning: Conditioning, guidance: GuidanceValue) -> Conditioning:
    """Return the entries with guidance for distilled networks."""
    return tuple(replace(entry, guidance=guidance) for entry in conditioning)


def with_reference(conditioning: Conditioning, latent: Tensor) -> Conditioning:
    """Return the entries with one more image to refer to, a latent B×C×h×w."""
    return tuple(replace(entry, references=(*entry.references, latent)) for entry in conditioning)


def with_reference_method(conditioning: Conditioning, method: str) -> Conditioning:
    """Return the entries with another way to position their references."""
    return tuple(replace(entry, reference_method=method) for entry in conditioning)


def with_style(
    conditioning: Conditioning, style: Tensor, strength: float, *, as_bias: bool
) -> Conditioning:
    """Return the entries with the tokens of a style appended.

    Args:
        style: 1×n×d.
        strength: factor on the tokens; as a bias, on the attention to them.
    """
    bias = math.log(max(strength, MIN_STRENGTH)) if as_bias and strength != 1 else None
    tokens = style if as_bias else style * strength
    return tuple(
        replace(
            entry,
            tokens=torch.cat([entry.tokens, tokens], dim=1),
            biases=entry.biases
            if bias is None
            else (*entry.biases, TokenBias(entry.tokens.shape[1], tokens.shape[1], bias)),
        )
        for entry in conditioning
    )


def with_area(conditioning: Conditioning, area: Area, strength: float) -> Conditioning:
    """Return the entries limited to an area; a mask that they have stays."""
    return tuple(
        replace(
            entry,
            strength=strength,
            region=replace(entry.region or Region(), area=area, bounds=False),
        )
        for entry in conditioning
    )


def with_strength(conditioning: Conditioning, strength: float) -> Conditioning:
    """Return the entries with this weight among those of their side."""
    return tuple(replace(entry, strength=strength) for entry in conditioning)


def with_mask(
    conditioning: Conditioning, mask: Tensor, strength: float, bounds: bool
) -> Conditioning:
    """Return the entries weighted by a mask B×H×W; an area that they have stays.

    Args:
        strength: factor on the mask.
        bounds: limit the network to the smallest area that holds the mask.
    """
    return tuple(
        replace(
            entry,
            region=replace(
                entry.region or Region(), mask=mask, mask_strength=strength, bounds=bounds
            ),
        )
        for entry in conditioning
    )
