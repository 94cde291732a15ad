"""Images cut, padded, stitched, turned and flipped."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import FlipMethod, Image, ImageAndMask, Offset, Pixels, Rotation

Margin = Annotated[int, Between(0, 16_384, step=8)]
Direction = Literal["right", "down", "left", "up"]
Gap = Annotated[int, Between(0, 1024, step=2)]
GapColor = Literal["white", "black", "red", "green", "blue"]


@node("ImageCrop", category="image/transform")
def image_crop(
    image: Image, width: Pixels = 512, height: Pixels = 512, x: Offset = 0, y: Offset = 0
) -> Image:
    """Cut a part out of images.

    Args:
        image: images B×H×W×C.
        width, height: size of the part in pixels, cut to what is there.
        x, y: its top left corner, moved to the last column or row if it lies outside.
    """
    from latentloom.diffusion.images.layout import crop

    return crop(image, x, y, width, height)


@node("ImagePadForOutpaint", category="image")
def image_pad_for_outpaint(
    image: Image,
    left: Margin = 0,
    top: Margin = 0,
    right: Margin = 0,
    bottom: Margin = 0,
    feathering: Offset = 40,
) -> ImageAndMask:
    """Put grey margins around images, and say in a mask that they are to be painted.

    Args:
        image: images B×H×W×C.
        left, top, right, bottom: widths of the margins in pixels.
        feathering: pixels over which the mask falls off inside the image, along sides that
            have a margin; there is none where the image is not more than twice as large.
    """
    from latentloom.diffusion.images.layout import pad_to_paint

    return ImageAndMask(*pad_to_paint(image, left, top, right, bottom, feathering))


@node("ImageStitch", category="image/transform")
def image_stitch(
    image1: Image,
    direction: Direction = "right",
    match_image_size: bool = True,
    spacing_width: Gap = 0,
    spacing_color: GapColor = "white",
    image2: Image | None = None,
) -> Image:
    """Put two images side by side.

    Args:
        image1: the first image.
        direction: where the second goes.
        match_image_size: resize the second so that the sides that meet are equally long;
            otherwise the shorter one is centred on black.
        spacing_width: width of a stripe between them in pixels, made even.
        spacing_color: of the stripe.
        image2: the second image; without it the first is given back.
    """
    from latentloom.diffusion.images.layout import stitch

    if image2 is None:
        return image1
    return stitch(image1, image2, direction, match_image_size, spacing_width, spacing_color)


@node("ImageRotate", category="image/transform")
def image_rotate(image: Image, rotation: Rotation = "none") -> Image:
    """Turn images clockwise.

    Args:
        image: images B×H×W×C.
        rotation: how far.
    """
    from latentloom.diffusion.images.layout import turn

    return turn(image, rotation)


@node("ImageFlip", category="image/transform")
def image_flip(image: Image, flip_method: FlipMethod = "x-axis: vertically") -> Image:
    """Mirror images.

    Args:
        image: images B×H×W×C.
        flip_method: x-axis turns them upside down, y-axis swaps left and right.
    """
    from latentloom.diffusion.images.layout import flip

    return flip(image, flip_method == "x-axis: vertically")
