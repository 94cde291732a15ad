"""Image geometry: crop, pad, stitch, rotate and flip."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.graph.literal import describe_value
from latentloom.engine.node.ports import Between, Plain, Socket
from latentloom.engine.node.spec import node

from .ports import FlipMethod, Image, ImageAndMask, Offset, Pixels, Rotation

Margin = Annotated[int, Between(0, 16_384, step=8)]
Direction = Literal["right", "down", "left", "up"]
Gap = Annotated[int, Between(0, 1024, step=2)]
MAX_SIDE_PX = 16_384
DEFAULT_BOX: Mapping[str, int] = MappingProxyType({"x": 0, "y": 0, "width": 512, "height": 512})
Box = Annotated[Mapping[str, int], Socket("BOUNDING_BOX"), Plain("ImageCrop")]
GapColor = Literal["white", "black", "red", "green", "blue"]


@node("ImageCrop", category="image/transform")
def image_crop(
    image: Image, width: Pixels = 512, height: Pixels = 512, x: Offset = 0, y: Offset = 0
) -> Image:
    """Crop images.

    Args:
        image: images B×H×W×C.
        width, height: size of the crop in pixels; limited to the image.
        x, y: its top left corner, limited to the last column and row.
    """
    from latentloom.diffusion.images.layout import crop

    return crop(image, x, y, width, height)


@node("ImageCropV2", category="image/transform")
def image_crop_region(image: Image, crop_region: Box = DEFAULT_BOX) -> Image:
    """Crop images to a region.

    Args:
        image: images B×H×W×C.
        crop_region: x, y, width and height in pixels; limited to the image.

    Raises:
        InputError: the region is not a box.
    """
    from latentloom.diffusion.images.layout import crop

    x, y, width, height = _read_box("crop_region", crop_region)
    return crop(image, x, y, width, height)


@node("PrimitiveBoundingBox", category="utilities/primitive")
def primitive_bounding_box(
    x: Offset = 0, y: Offset = 0, width: Pixels = 512, height: Pixels = 512
) -> Annotated[dict[str, int], Socket("BOUNDING_BOX")]:
    """Return a region, to use for several inputs.

    Args:
        x, y: its top left corner in pixels.
        width, height: its size in pixels.
    """
    return {"x": x, "y": y, "width": width, "height": height}


def _read_box(port: str, box: Any) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a mapping."""

    def read(name: str, low: int) -> int:
        value: Any = box.get(name) if isinstance(box, Mapping) else None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= MAX_SIDE_PX:
            expected = f"a box with {name} from {low} to {MAX_SIDE_PX}"
            raise InputError(port, expected, describe_value(box))
        return int(value)

    return read("x", 0), read("y", 0), read("width", 1), read("height", 1)


@node("ImagePadForOutpaint", category="image/transform")
def image_pad_for_outpaint(
    image: Image,
    left: Margin = 0,
    top: Margin = 0,
    right: Margin = 0,
    bottom: Margin = 0,
    feathering: Offset = 40,
) -> ImageAndMask:
    """Pad images with grey for outpainting, and mask the padding.

    Args:
        image: images B×H×W×C.
        left, top, right, bottom: padding in pixels.
        feathering: pixels over which the mask fades out inside the image, along padded sides;
            ignored if an image side is not more than twice as long.
    """
    from latentloom.diffusion.images.layout import pad_for_outpainting

    return ImageAndMask(*pad_for_outpainting(image, left, top, right, bottom, feathering))


@node("ImageStitch", category="image/transform")
def image_stitch(
    image1: Image,
    direction: Direction = "right",
    match_image_size: bool = True,
    spacing_width: Gap = 0,
    spacing_color: GapColor = "white",
    image2: Image | None = None,
) -> Image:
    """Place two images side by side.

    Args:
        image1: the first images B×H×W×C.
        direction: the side on which to put the second images.
        match_image_size: resize the second images to the height (width) of the first;
            otherwise the smaller ones are centred on black.
        spacing_width: width of the gap in pixels, rounded up to an even number.
        spacing_color: colour of the gap.
        image2: the second images; without them `image1` is returned.
    """
    from latentloom.diffusion.images.layout import stitch

    if image2 is None:
        return image1
    return stitch(image1, image2, direction, match_image_size, spacing_width, spacing_color)


@node("ImageRotate", category="image/transform")
def image_rotate(image: Image, rotation: Rotation = "none") -> Image:
    """Rotate images clockwise.

    Args:
        image: images B×H×W×C.
        rotation: the angle.
    """
    from latentloom.diffusion.images.layout import rotate

    return rotate(image, rotation)


@node("ImageFlip", category="image/transform")
def image_flip(image: Image, flip_method: FlipMethod = "x-axis: vertically") -> Image:
    """Flip images.

    Args:
        image: images B×H×W×C.
        flip_method: x-axis swaps top and bottom, y-axis swaps left and right.
    """
    from latentloom.diffusion.images.layout import flip

    return flip(image, flip_method == "x-axis: vertically")
