"""Images with an alpha channel: joined, split and composited."""

from __future__ import annotations

from typing import Literal

from latentloom.engine.node.spec import node

from .ports import Image, ImageAndMask, Mask

PorterDuffMode = Literal[
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN",
    "MULTIPLY", "OVERLAY", "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
]  # fmt: skip


@node("JoinImageWithAlpha", category="image/compositing")
def join_image_with_alpha(image: Image, alpha: Mask) -> Image:
    """Add an alpha channel to images.

    Args:
        image: images B×H×W×C; an existing alpha channel is replaced.
        alpha: masks B×H×W, 1 where the result is transparent; resized to the images.
    """
    from latentloom.diffusion.images.porter_duff import join_alpha

    return join_alpha(image, alpha)


@node("SplitImageWithAlpha", category="image/compositing")
def split_image_with_alpha(image: Image) -> ImageAndMask:
    """Split images into colours and a mask of their transparency.

    Args:
        image: images B×H×W×C; the mask is 1 where they are transparent, 0 if they have no alpha.
    """
    from latentloom.diffusion.images.porter_duff import split_alpha

    return ImageAndMask(*split_alpha(image))


@node("PorterDuffImageComposite", category="image/compositing")
def porter_duff_image_composite(
    source: Image,
    source_alpha: Mask,
    destination: Image,
    destination_alpha: Mask,
    mode: PorterDuffMode = "DST",
) -> ImageAndMask:
    """Composite two images with a Porter-Duff operator or a blend mode.

    Args:
        source: images B×H×W×C, resized and centre-cropped to the size of the destination.
        source_alpha: masks B×H×W, 1 where the source is transparent.
        destination: images B×H×W×C.
        destination_alpha: masks B×H×W, 1 where the destination is transparent.
        mode: the operator, such as SRC_OVER (source over destination) or DST_IN (destination
            where the source is opaque).

    Source: the modes as documented for Android's PorterDuff.Mode.
    """
    from latentloom.diffusion.images.porter_duff import compose

    return ImageAndMask(*compose(source, source_alpha, destination, destination_alpha, mode))
