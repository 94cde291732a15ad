"""Pasting back: what lies outside a mask stays as it was, byte for byte."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_mask
from .ports import Image, Mask

GrowthWidth = Annotated[int, Between(0, 1024)]


@node("ImagePasteBack", category="image/inpaint")
def image_paste_back(
    source: Image, image: Image, mask: Mask, grow: GrowthWidth = 0, blend: GrowthWidth = 0
) -> Image:
    """Put the changed part of an image back on its source; outside the mask nothing changes.

    More than `grow` pixels from what the mask covers, every value is the source's, and so is every
    byte of the saved image. A mask that is partly grey mixes there. What a VAE cut away of sides
    that are no multiples of 8, at most 4 pixels at an edge, stays the source's in the mask too;
    InpaintCrop paints it all the same.

    Args:
        source: the images B×H×W×C before the change; theirs is the size of the result.
        image: the changed images, of the same size or cut to whole latent cells, as a VAE does;
            without alpha they leave the source's as it is.
        mask: masks B×H×W, 1 where the changed images show; resized to the source.
        grow: how far beyond the mask the changed images may show, in pixels.
        blend: the outer part of that, over which they fade out, in pixels.

    Raises:
        InputError: the sizes do not fit, or the fade is wider than what it is part of.
    """
    from latentloom.diffusion.images.paste import cut_offset, paste, widen
    from latentloom.diffusion.images.resize import resize_mask

    if blend > grow:
        hint = "the fade lies in what the mask is grown by: raise `grow` or lower `blend`"
        raise InputError("blend", f"at most `grow` ({grow})", blend, hint)
    check_mask("mask", mask)
    with as_input_error("image"):
        x, y = cut_offset(source, image)
    share = widen(resize_mask(mask, source.shape[2], source.shape[1]), grow, blend)
    share = share[:, y : y + image.shape[1], x : x + image.shape[2]]
    return paste(source, image, share, x, y)
