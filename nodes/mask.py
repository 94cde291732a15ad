"""Masks: create, convert, grow, crop and combine."""

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


@node("ImageToMask", category="image/mask")
def image_to_mask(image: Image, channel: Channel = "red") -> Mask:
    """Use one channel of images as masks.

    Args:
        image: images B×H×W×C.
        channel: the channel; its values become those of the mask.

    Raises:
        InputError: the images do not have the channel.
    """
    from latentloom.diffusion.images.masks import from_image

    hint = "LoadImage gives an image's alpha on its MASK output" if channel == "alpha" else ""
    with as_input_error("channel", hint=hint):
        return from_image(image, channel)


@node("ImageColorToMask", category="image/mask")
def image_color_to_mask(image: Image, color: Color = 0) -> Mask:
    """Create masks that are 1 where images have exactly one colour.

    Args:
        image: images B×H×W×C with 3 or 4 channels; values are rounded to 8 bits.
        color: the colour, 65536·red + 256·green + blue.

    Raises:
        InputError: the images have one channel.
    """
    from latentloom.diffusion.images.masks import from_color

    check_has_color("image", image)
    return from_color(image, color)


@node("MaskToImage", category="image/mask")
def mask_to_image(mask: Mask) -> Image:
    """Convert masks to greyscale images.

    Args:
        mask: masks B×H×W.
    """
    from latentloom.diffusion.images.masks import to_image

    return to_image(mask)


@node("SolidMask", category="image/mask")
def solid_mask(value: Share = 1.0, width: Pixels = 512, height: Pixels = 512) -> Mask:
    """Create a mask of one value.

    Args:
        value: the value of every pixel, 0 to 1.
        width, height: size in pixels.
    """
    from latentloom.diffusion.images.masks import solid

    return solid(value, width, height)


@node("InvertMask", category="image/mask")
def invert_mask(mask: Mask) -> Mask:
    """Invert masks: 1 - v.

    Args:
        mask: masks B×H×W.
    """
    from latentloom.diffusion.images.masks import invert

    return invert(mask)


@node("ThresholdMask", category="image/mask")
def threshold_mask(mask: Mask, value: Share = 0.5) -> Mask:
    """Make masks binary: 1 where they are above a threshold, 0 elsewhere.

    Args:
        mask: masks B×H×W.
        value: the threshold, 0 to 1; the value itself becomes 0.
    """
    from latentloom.diffusion.images.masks import threshold

    return threshold(mask, value)


@node("GrowMask", category="image/mask")
def grow_mask(mask: Mask, expand: MaskGrowth = 0, tapered_corners: bool = True) -> Mask:
    """Grow or shrink masks.

    Args:
        mask: masks B×H×W; soft values grow too.
        expand: pixels to grow by; negative numbers shrink.
        tapered_corners: grow with a diamond-shaped kernel instead of a square one.

    Source: ComfyUI's GrowMask: repeated grey dilation (erosion) with a 3×3 cross or square.
    """
    from latentloom.diffusion.images.masks import grow

    return grow(mask, expand, tapered_corners)


@node("FeatherMask", category="image/mask")
def feather_mask(
    mask: Mask, left: Offset = 0, top: Offset = 0, right: Offset = 0, bottom: Offset = 0
) -> Mask:
    """Fade masks out towards the edges of the image.

    Args:
        mask: masks B×H×W.
        left, top, right, bottom: width of each fade in pixels.

    Source: ComfyUI's FeatherMask, including an off-by-one error: the fade at the right (bottom)
        starts one pixel late and darkens the first column (row) instead.
    """
    from latentloom.diffusion.images.masks import feather

    return feather(mask, left, top, right, bottom)


@node("CropMask", category="image/mask")
def crop_mask(
    mask: Mask, x: Offset = 0, y: Offset = 0, width: Pixels = 512, height: Pixels = 512
) -> Mask:
    """Crop masks.

    Args:
        mask: masks B×H×W.
        x, y: top left corner of the crop in pixels.
        width, height: its size in pixels; limited to the mask.

    Raises:
        InputError: the crop lies outside the mask.
    """
    from latentloom.diffusion.images.masks import crop

    for port, offset, size in (("x", x, mask.shape[2]), ("y", y, mask.shape[1])):
        if offset >= size:
            raise InputError(port, f"less than the mask's {size} pixels", offset)
    return crop(mask, x, y, width, height)


@node("MaskComposite", category="image/mask")
def mask_composite(
    destination: Mask,
    source: Mask,
    x: Offset = 0,
    y: Offset = 0,
    operation: MaskOperation = "multiply",
) -> Mask:
    """Combine two masks.

    Args:
        destination: masks B×H×W; they set the size.
        source: the masks to put on them; what reaches outside is cropped.
        x, y: position of the source's top left corner, in pixels of the destination.
        operation: the operation per pixel; and, or and xor round the values first. Results are
            clamped to 0..1.
    """
    from latentloom.diffusion.images.masks import combine

    return combine(destination, source, x, y, operation)
