"""Prompts into conditioning, and conditionings into others."""

from __future__ import annotations

from typing import Annotated

from engine.errors import InputError
from engine.ports import Between
from engine.spec import node

from .ports import Clip, Conditioning, Percent, Prompt, Share

Layer = Annotated[int, Between(-24, -1)]
SizeInput = Annotated[int, Between(0, 16_384)]
Score = Annotated[float, Between(0.0, 1000.0, step=0.01)]
_READABLE = "a prompt that can be read"


@node("CLIPTextEncode", category="conditioning", device=True)
def clip_text_encode(text: Prompt, clip: Clip) -> Conditioning:
    """Encode a prompt.

    Args:
        text: the prompt; `(x:1.2)` weighs x, long prompts are encoded in chunks of 75 tokens.
        clip: the text encoder.

    Raises:
        InputError: the prompt is too long or nested too deep.

    Source: ComfyUI's CLIPTextEncode.
    """
    from diffusion.errors import PromptError
    from diffusion.text import encode_text

    try:
        return encode_text(clip, text)
    except PromptError as error:
        raise InputError("CLIPTextEncode", "text", _READABLE, error) from error


@node("CLIPTextEncodeSDXL", category="advanced/conditioning", device=True)
def clip_text_encode_sdxl(
    *,
    clip: Clip,
    width: SizeInput = 1024,
    height: SizeInput = 1024,
    crop_w: SizeInput = 0,
    crop_h: SizeInput = 0,
    target_width: SizeInput = 1024,
    target_height: SizeInput = 1024,
    text_g: Prompt,
    text_l: Prompt,
) -> Conditioning:
    """Encode a prompt for each of SDXL's two text encoders, and say what sizes to paint like.

    Args:
        clip: the text encoders.
        width, height: of the picture before it was cut; small ones give a blurred picture.
        crop_w, crop_h: what was cut off at its left and at its top.
        target_width, target_height: of the picture that was left.
        text_g: the prompt for the larger one, OpenCLIP-G.
        text_l: the prompt for the smaller one, CLIP-L.

    Raises:
        InputError: a prompt cannot be read, or the model lacks one of the encoders.

    Source: ComfyUI's CLIPTextEncodeSDXL.
    """
    from diffusion.conditioning import Sizes
    from diffusion.errors import PromptError
    from diffusion.text import encode_texts

    sizes = Sizes(width, height, crop_w, crop_h, target_width, target_height)
    try:
        return encode_texts(clip, {"l": text_l, "g": text_g}, sizes)
    except PromptError as error:
        raise InputError("CLIPTextEncodeSDXL", "text_g", _READABLE, error) from error


@node("CLIPTextEncodeSDXLRefiner", category="advanced/conditioning", device=True)
def clip_text_encode_sdxl_refiner(
    *,
    ascore: Score = 6.0,
    width: SizeInput = 1024,
    height: SizeInput = 1024,
    text: Prompt,
    clip: Clip,
) -> Conditioning:
    """Encode a prompt for SDXL's refiner, and say how pleasing a picture to paint.

    Args:
        ascore: 6 and more is pleasing, 2.5 is what to keep from.
        width, height: of the picture to paint like.
        text: the prompt.
        clip: the text encoder.

    Raises:
        InputError: the prompt cannot be read.

    Source: ComfyUI's CLIPTextEncodeSDXLRefiner.
    """
    from diffusion.conditioning import Sizes
    from diffusion.errors import PromptError
    from diffusion.text import encode_text

    try:
        return encode_text(clip, text, Sizes(width, height, score=ascore))
    except PromptError as error:
        raise InputError("CLIPTextEncodeSDXLRefiner", "text", _READABLE, error) from error


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
    from diffusion.conditioning import concat

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
    from diffusion.conditioning import average

    return average(conditioning_to, conditioning_from, conditioning_to_strength)


@node("ConditioningZeroOut", category="advanced/conditioning")
def conditioning_zero_out(conditioning: Conditioning) -> Conditioning:
    """A conditioning of zeros, which some models take for no prompt at all.

    Args:
        conditioning: gives the shape.
    """
    from diffusion.conditioning import zero_out

    return zero_out(conditioning)


@node("ConditioningSetTimestepRange", category="advanced/conditioning")
def conditioning_set_timestep_range(
    conditioning: Conditioning, start: Percent = 0.0, end: Percent = 1.0
) -> Conditioning:
    """Let a conditioning hold for a part of the way from noise to picture only.

    Args:
        conditioning: what is limited.
        start: share of the way from which it holds; 0 is pure noise.
        end: share of the way up to which it holds.
    """
    from diffusion.conditioning import with_range

    return with_range(conditioning, start, end)
