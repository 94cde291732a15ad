"""Images with alpha."""

from __future__ import annotations

from typing import Literal

from latentloom.engine.node.spec import node

from .ports import Image, ImageAndMask, Mask

PorterDuffMode = Literal[
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN",
    "MULTIPLY", "OVERLAY", "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
]  # fmt: skip


@node("JoinImageWithAlpha", category="mask/compositing")
def join_image_with_alpha(image: Image, alpha: Mask) -> Image:
    """Give images an alpha channel.

    Args:
        image: images B×H×W×C; an alpha that they have is replaced.
        alpha: masks B×H×W of what is transparent, resized to the images.
    """
    from latentloom.diffusion.images.porter_duff import join_alpha

    return join_alpha(image, alpha)


@node("SplitImageWithAlpha", category="mask/compositing")
def split_image_with_alpha(image: Image) -> ImageAndMask:
    """Take images apart into colours and a mask of what is transparent.

    Args:
        image: images B×H×W×C; without alpha the mask is 0.
    """
    from latentloom.diffusion.images.porter_duff import split_alpha

    return ImageAndMask(*split_alpha(image))


@node("PorterDuffImageComposite", category="mask/compositing")
def porter_duff_image_composite(
    source: Image,
    source_alpha: Mask,
    destination: Image,
    destination_alpha: Mask,
    mode: PorterDuffMode = "DST",
) -> ImageAndMask:
    """Compose images by the rules of Porter and Duff.

    Args:
        source: images B×H×W×C, fitted to the size of the destination.
        source_alpha: masks B×H×W of what is transparent in it.
        destination: images B×H×W×C.
        destination_alpha: masks B×H×W of what is transparent in it.
        mode: DST_IN is the destination where the source is, SRC_OVER the usual paste, and so on.

    Source: the modes as Android's PorterDuff.Mode documents them.
    """
    from latentloom.diffusion.images.porter_duff import compose

    return ImageAndMask(*compose(source, source_alpha, destination, destination_alpha, mode))
