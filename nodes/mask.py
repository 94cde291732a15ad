"""Masks: made, read from images, grown, cut, combined."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_has_color
from .ports import Color, Image, Mask, Offset, Pixels, Share

Channel = Literal["red", "green", "blue", "alpha"]
MaskGrowth = Annotated[int, Between(-16_384, 16_384)]
MaskOperation = Literal["multiply", "add", "subtract", "and", "or", "xor"]


@node("ImageToMask", category="mask")
def image_to_mask(image: Image, channel: Channel = "red") -> Mask:
    """Take one channel of images as masks.

    Args:
        image: images B×H×W×C.
        channel: the channel; 1 in it is 1 in the mask.

    Raises:
        InputError: the images have no such channel.
    """
    from latentloom.diffusion.images.masks import from_image

    hint = "LoadImage gives an image's alpha on its MASK output" if channel == "alpha" else ""
    with as_input_error("channel", hint=hint):
        return from_image(image, channel)


@node("ImageColorToMask", category="mask")
def image_color_to_mask(image: Image, color: Color = 0) -> Mask:
    """1 where images have a colour.

    Args:
        image: images B×H×W×C of at least 3 channels; values are rounded to 8 bits.
        color: the colour, 65536·red + 256·green + blue.

    Raises:
        InputError: the images are grey.
    """
    from latentloom.diffusion.images.masks import from_color

    check_has_color("image", image)
    return from_color(image, color)


@node("MaskToImage", category="mask")
def mask_to_image(mask: Mask) -> Image:
    """Show masks as grey images.

    Args:
        mask: masks B×H×W.
    """
    from latentloom.diffusion.images.masks import to_image

    return to_image(mask)


@node("SolidMask", category="mask")
def solid_mask(value: Share = 1.0, width: Pixels = 512, height: Pixels = 512) -> Mask:
    """A mask of one value.

    Args:
        value: of every pixel; 1 may change.
        width, height: size in pixels.
    """
    from latentloom.diffusion.images.masks import solid

    return solid(value, width, height)


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Swap what may change with what may not: 1 - v.

    Args:
        mask: masks B×H×W.
    """
    from latentloom.diffusion.images.masks import invert

    return invert(mask)


@node("ThresholdMask", category="mask")
def threshold_mask(mask: Mask, value: Share = 0.5) -> Mask:
    """Make masks hard: 1 where they are more than a value, 0 elsewhere.

    Args:
        mask: masks B×H×W.
        value: the value itself becomes 0.
    """
    from latentloom.diffusion.images.masks import threshold

    return threshold(mask, value)


@node("GrowMask", category="mask")
def grow_mask(mask: Mask, expand: MaskGrowth = 0, tapered_corners: bool = True) -> Mask:
    """Grow or shrink what masks cover; grey values keep their height.

    Args:
        mask: masks B×H×W.
        expand: by how many pixels; negative numbers shrink.
        tapered_corners: grow along rows and columns only, into a diamond; otherwise a square.

    Source: ComfyUI's GrowMask: a grey dilation (erosion) with a 3×3 cross or square, repeated.
    """
    from latentloom.diffusion.images.masks import grow

    return grow(mask, expand, tapered_corners)


@node("FeatherMask", category="mask")
def feather_mask(
    mask: Mask, left: Offset = 0, top: Offset = 0, right: Offset = 0, bottom: Offset = 0
) -> Mask:
    """Fade masks out towards the edges of the image.

    Args:
        mask: masks B×H×W.
        left, top, right, bottom: width of each fade in pixels.

    Source: ComfyUI's FeatherMask, whose fade at the right (bottom) begins one pixel late and
        darkens the first column (row) instead.
    """
    from latentloom.diffusion.images.masks import feather

    return feather(mask, left, top, right, bottom)


@node("CropMask", category="mask")
def crop_mask(
    mask: Mask, x: Offset = 0, y: Offset = 0, width: Pixels = 512, height: Pixels = 512
) -> Mask:
    """Cut a part out of masks.

    Args:
        mask: masks B×H×W.
        x, y: top left corner of the part, in pixels.
        width, height: its size, cut to what is there.

    Raises:
        InputError: the part lies outside.
    """
    from latentloom.diffusion.images.masks import crop

    for port, offset, size in (("x", x, mask.shape[2]), ("y", y, mask.shape[1])):
        if offset >= size:
            raise InputError(port, f"less than the mask's {size} pixels", offset)
    return crop(mask, x, y, width, height)


@node("MaskComposite", category="mask")
def mask_composite(
    destination: Mask,
    source: Mask,
    x: Offset = 0,
    y: Offset = 0,
    operation: MaskOperation = "multiply",
) -> Mask:
    """Combine masks with others laid on them.

    Args:
        destination: the masks below; theirs is the size of the result.
        source: the masks above; what reaches outside is cut.
        x, y: where the source's top left corner comes, in pixels of the destination.
        operation: how values meet; and, or, xor round them first. Results are cut to 0..1.
    """
    from latentloom.diffusion.images.masks import combine

    return combine(destination, source, x, y, operation)
