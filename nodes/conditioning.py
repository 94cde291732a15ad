"""Conditionings into others, and from which layer prompts are encoded."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Clip, Conditioning, Percent, Share

Layer = Annotated[int, Between(-24, -1)]


@node("CLIPSetLastLayer", category="conditioning")
def clip_set_last_layer(clip: Clip, stop_at_clip_layer: Layer = -1) -> Clip:
    """Take the encoding from an earlier layer ("clip skip").

    Args:
        clip: the text encoder.
        stop_at_clip_layer: -1 is the last layer, -2 the one before it.

    Source: ComfyUI's CLIPSetLastLayer.
    """
    from dataclasses import replace

    return replace(clip, layer=stop_at_clip_layer)


@node("ConditioningCombine", category="conditioning")
def conditioning_combine(
    conditioning_1: Conditioning, conditioning_2: Conditioning
) -> Conditioning:
    """Both conditionings at once: the model is asked with each, and the answers are averaged.

    Args:
        conditioning_1, conditioning_2: of one family.
    """
    return (*conditioning_1, *conditioning_2)


@node("ConditioningConcat", category="conditioning")
def conditioning_concat(
    conditioning_to: Conditioning, conditioning_from: Conditioning
) -> Conditioning:
    """One conditioning with the tokens of both.

    Args:
        conditioning_to: its entries are kept, each with more tokens.
        conditioning_from: the tokens of its first entry are added.
    """
    from latentloom.diffusion.conditioning.conditioning import concat

    return concat(conditioning_to, conditioning_from)


@node("ConditioningAverage", category="conditioning")
def conditioning_average(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Share = 1.0,
) -> Conditioning:
    """Mix two conditionings by value.

    Args:
        conditioning_to: its entries are mixed, each with the first of the other.
        conditioning_from: cut or filled with zeros to the other's length.
        conditioning_to_strength: share of `conditioning_to`.
    """
    from latentloom.diffusion.conditioning.conditioning import average

    return average(conditioning_to, conditioning_from, conditioning_to_strength)


@node("ConditioningZeroOut", category="advanced/conditioning")
def conditioning_zero_out(conditioning: Conditioning) -> Conditioning:
    """A conditioning of zeros, which some models take for no prompt at all.

    Args:
        conditioning: gives the shape.
    """
    from latentloom.diffusion.conditioning.conditioning import zero_out

    return zero_out(conditioning)


@node("ConditioningSetTimestepRange", category="advanced/conditioning")
def conditioning_set_timestep_range(
    conditioning: Conditioning, start: Percent = 0.0, end: Percent = 1.0
) -> Conditioning:
    """Let a conditioning hold for a part of the way from noise to image only.

    Args:
        conditioning: what is limited.
        start: share of the way from which it holds; 0 is pure noise.
        end: share of the way up to which it holds.
    """
    from latentloom.diffusion.conditioning.conditioning import with_range

    return with_range(conditioning, start, end)
