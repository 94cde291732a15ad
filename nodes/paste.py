"""Pasting back: pixels outside a mask keep their exact values."""

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
    """Paste the changed part of an image on its source; nothing changes outside the mask.

    Further than `grow` pixels from the mask, pixels keep the source's exact values. Soft mask
    values mix both images. If a side is not a multiple of 8, the VAE crops up to 4 pixels at its
    edges; these keep the source's values even inside the mask. InpaintCrop covers them.

    Args:
        source: the images B×H×W×C before the change; they set the size.
        image: the changed images, of the same size or cropped to whole latent cells; the
            source's alpha is kept if they have none.
        mask: masks B×H×W, 1 where the changed images show; resized to the source.
        grow: pixels to grow the mask by.
        blend: width in pixels of the outer part of `grow` over which the change fades out.

    Raises:
        InputError: the sizes do not fit, or `blend` is larger than `grow`.
    """
    from latentloom.diffusion.images.paste import crop_offset, grow_and_fade, paste
    from latentloom.diffusion.images.resize import resize_mask

    if blend > grow:
        hint = "raise `grow` or lower `blend`"
        raise InputError("blend", f"at most `grow` ({grow})", blend, hint)
    check_mask("mask", mask)
    with as_input_error("image"):
        x, y = crop_offset(source, image)
    opacity = grow_and_fade(resize_mask(mask, source.shape[2], source.shape[1]), grow, blend)
    opacity = opacity[:, y : y + image.shape[1], x : x + image.shape[2]]
    return paste(source, image, opacity, x, y)
