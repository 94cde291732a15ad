"""Masks: from pictures, to pictures, inverted."""

from __future__ import annotations

from typing import Literal

from engine.errors import InputError
from engine.spec import node

from .ports import Image, Mask

Channel = Literal["red", "green", "blue", "alpha"]


@node("ImageToMask", category="mask")
def image_to_mask(image: Image, channel: Channel = "red") -> Mask:
    """Take one channel of pictures as masks.

    Args:
        image: pictures B×H×W×C.
        channel: the channel; 1 in it is 1 in the mask.

    Raises:
        InputError: the pictures have no such channel.
    """
    from diffusion.masks import from_picture

    try:
        return from_picture(image, channel)
    except ValueError as error:
        wanted = f"a channel of a picture that has {image.shape[-1]}"
        hint = "a picture's alpha is on LoadImage's MASK" if channel == "alpha" else ""
        raise InputError("ImageToMask", "channel", wanted, channel, hint) from error


@node("MaskToImage", category="mask")
def mask_to_image(mask: Mask) -> Image:
    """Show masks as grey pictures.

    Args:
        mask: masks B×H×W.
    """
    from diffusion.masks import to_picture

    return to_picture(mask)


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Swap what may change with what may not: 1 - v.

    Args:
        mask: masks B×H×W.
    """
    from diffusion.masks import invert

    return invert(mask)
