"""Combinations of conditionings, and the layer that encodes prompts."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Clip, Conditioning, Percent, Share

ConditioningFactor = Annotated[float, Between(-100.0, 100.0, step=0.01)]
Layer = Annotated[int, Between(-24, -1)]


@node("CLIPSetLastLayer", category="model/conditioning")
def clip_set_last_layer(clip: Clip, stop_at_clip_layer: Layer = -1) -> Clip:
    """Encode prompts by an earlier layer of the text encoder ("clip skip").

    Args:
        clip: the text encoder.
        stop_at_clip_layer: -1 is the last layer, -2 the one before it.

    Source: ComfyUI's CLIPSetLastLayer.
    """
    from dataclasses import replace

    return replace(clip, layer=stop_at_clip_layer)


@node("ConditioningMultiply", category="model/conditioning/transform")
def conditioning_multiply(
    conditioning: Conditioning, multiplier: ConditioningFactor = 1.0
) -> Conditioning:
    """Multiply encoded prompts by a number.

    Args:
        conditioning: tokens and pooled encodings are multiplied.
        multiplier: the factor.

    Source: ComfyUI's ConditioningMultiply.
    """
    from latentloom.diffusion.conditioning.conditioning import multiply

    return multiply(conditioning, multiplier)


@node("ConditioningCombine", category="model/conditioning/transform")
def conditioning_combine(
    conditioning_1: Conditioning, conditioning_2: Conditioning
) -> Conditioning:
    """Use both conditionings: the model predicts with each, and the predictions are averaged.

    Args:
        conditioning_1, conditioning_2: conditionings of one family.
    """
    return (*conditioning_1, *conditioning_2)


@node("ConditioningConcat", category="model/conditioning/transform")
def conditioning_concat(
    conditioning_to: Conditioning, conditioning_from: Conditioning
) -> Conditioning:
    """Append the tokens of one conditioning to another.

    Args:
        conditioning_to: its entries get more tokens.
        conditioning_from: the tokens of its first entry are appended.
    """
    from latentloom.diffusion.conditioning.conditioning import concat

    return concat(conditioning_to, conditioning_from)


@node("ConditioningAverage", category="model/conditioning/transform")
def conditioning_average(
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Share = 1.0,
) -> Conditioning:
    """Mix two conditionings by value.

    Args:
        conditioning_to: every entry is mixed with the first entry of the other.
        conditioning_from: cut or padded with zeros to the length of the other.
        conditioning_to_strength: share of `conditioning_to`.
    """
    from latentloom.diffusion.conditioning.conditioning import average

    return average(conditioning_to, conditioning_from, conditioning_to_strength)


@node("ConditioningZeroOut", category="model/conditioning/transform")
def conditioning_zero_out(conditioning: Conditioning) -> Conditioning:
    """Set a conditioning to zeros, which some models use for an empty prompt.

    Args:
        conditioning: the conditioning to zero out.
    """
    from latentloom.diffusion.conditioning.conditioning import zero_out

    return zero_out(conditioning)


@node("ConditioningSetTimestepRange", category="model/conditioning/transform")
def conditioning_set_timestep_range(
    conditioning: Conditioning, start: Percent = 0.0, end: Percent = 1.0
) -> Conditioning:
    """Limit a conditioning to a part of the schedule.

    Args:
        conditioning: the conditioning to limit.
        start: share of the schedule at which it begins; 0 is pure noise.
        end: share of the schedule at which it ends; 1 is the image.
    """
    from latentloom.diffusion.conditioning.conditioning import with_range

    return with_range(conditioning, start, end)
