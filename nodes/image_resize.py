"""Resizing of images and masks by one of several rules."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Branches, Matched, Socket
from latentloom.engine.node.spec import node

from .ports import Crop, Image, ImageResize, Megapixels, PixelsOrAuto, ScaleFactor

ImageOrMask = Annotated[Any, Matched("input_type", "IMAGE,MASK")]
EdgePixels = Annotated[int, Between(1, 8192)]
Multiple = Annotated[int, Between(1, 16_384)]


class ScaleDimensions(NamedTuple):
    """A size in pixels.

    Args:
        width, height: the new size; one 0 keeps the aspect ratio, two keep the size.
        crop: center first crops to the new aspect ratio, disabled stretches.
    """

    width: PixelsOrAuto = 512
    height: PixelsOrAuto = 512
    crop: Crop = "center"


class ScaleByMultiplier(NamedTuple):
    """A factor.

    Args:
        multiplier: factor on width and height.
    """

    multiplier: ScaleFactor = 1.0


class ScaleLonger(NamedTuple):
    """A length of the longer side.

    Args:
        longer_size: in pixels; 0 keeps the size.
    """

    longer_size: PixelsOrAuto = 512


class ScaleShorter(NamedTuple):
    """A length of the shorter side.

    Args:
        shorter_size: in pixels; 0 keeps the size.
    """

    shorter_size: PixelsOrAuto = 512


class ScaleWidth(NamedTuple):
    """A width; the height follows.

    Args:
        width: in pixels; 0 keeps the size.
    """

    width: PixelsOrAuto = 512


class ScaleHeight(NamedTuple):
    """A height; the width follows.

    Args:
        height: in pixels; 0 keeps the size.
    """

    height: PixelsOrAuto = 512


class ScaleArea(NamedTuple):
    """An area.

    Args:
        megapixels: approximate new area, in units of 1024×1024 pixels.
    """

    megapixels: Megapixels = 1.0


class MatchSize(NamedTuple):
    """The size of another image or mask.

    Args:
        match: the image or mask.
        crop: center first crops to the new aspect ratio, disabled stretches.
    """

    match: Annotated[Any, Socket("IMAGE,MASK")]
    crop: Crop = "center"


class ScaleToMultiple(NamedTuple):
    """Sides that are multiples of a number; what is left over is cropped.

    Args:
        multiple: the number of pixels.
    """

    multiple: Multiple = 8


Rule = Annotated[
    Any,
    Branches(
        {
            "scale dimensions": ScaleDimensions,
            "scale by multiplier": ScaleByMultiplier,
            "scale longer dimension": ScaleLonger,
            "scale shorter dimension": ScaleShorter,
            "scale width": ScaleWidth,
            "scale height": ScaleHeight,
            "scale total pixels": ScaleArea,
            "match size": MatchSize,
            "scale to multiple": ScaleToMultiple,
        }
    ),
]


class ImageOutput(NamedTuple):
    """Changed images."""

    images: Image


class Resized(NamedTuple):
    """The resized images or masks."""

    resized: ImageOrMask


@node("ResizeImageMaskNode", category="image/transform")
def resize_image_or_mask(
    input: ImageOrMask, resize_type: Rule, scale_method: ImageResize = "area"
) -> Resized:
    """Resize images or masks.

    Args:
        input: images B×H×W×C or masks B×H×W.
        resize_type: the rule that gives the new size.
        scale_method: the resampling filter; only area and lanczos are antialiased.

    Raises:
        InputError: the image is smaller than the multiple.
    """
    from latentloom.diffusion.images.resize import resize_image

    height, width = input.shape[1:3]
    image = input if input.ndim == 4 else input.unsqueeze(-1)
    if isinstance(resize_type, ScaleToMultiple):
        resized = _cover_multiple(image, resize_type.multiple, scale_method)
    else:
        crop = getattr(resize_type, "crop", "disabled")
        size = _new_size(width, height, resize_type)
        is_same = size == (width, height)
        resized = image if is_same else resize_image(image, *size, scale_method, crop)
    return Resized(resized if input.ndim == 4 else resized.squeeze(-1))


@node("ResizeImagesByShorterEdge", category="image/transform")
def resize_by_shorter_edge(images: Image, shorter_edge: EdgePixels = 512) -> ImageOutput:
    """Resize images to a length of the shorter side, with Lanczos, keeping their aspect ratio.

    Args:
        images: images B×H×W×C.
        shorter_edge: length of the shorter side in pixels; the longer one is rounded down.
    """
    return ImageOutput(_resize_edge(images, shorter_edge, min(images.shape[1:3])))


@node("ResizeImagesByLongerEdge", category="image/transform")
def resize_by_longer_edge(images: Image, longer_edge: EdgePixels = 1024) -> ImageOutput:
    """Resize images to a length of the longer side, with Lanczos, keeping their aspect ratio.

    Args:
        images: images B×H×W×C.
        longer_edge: length of the longer side in pixels; the shorter one is rounded down.
    """
    return ImageOutput(_resize_edge(images, longer_edge, max(images.shape[1:3])))


@node("CenterCropImages", category="image/transform")
def center_crop_images(
    images: Image, width: EdgePixels = 512, height: EdgePixels = 512
) -> ImageOutput:
    """Crop images around their centre.

    Args:
        images: images B×H×W×C.
        width, height: size of the crop in pixels, limited to the image.
    """
    from latentloom.diffusion.images.layout import crop

    old_height, old_width = images.shape[1:3]
    x, y = max(0, (old_width - width) // 2), max(0, (old_height - height) // 2)
    return ImageOutput(crop(images, x, y, width, height))


def _resize_edge(images: Image, length: int, edge: int) -> Image:
    from latentloom.diffusion.images.resize import resize_image

    height, width = (max(1, side * length // edge) for side in images.shape[1:3])
    return resize_image(images, width, height, "lanczos")


def _new_size(width: int, height: int, rule: Any) -> tuple[int, int]:
    from latentloom.diffusion.images.resize import fit_size, scale_size, size_of_area

    match rule:
        case ScaleDimensions():
            return fit_size(width, height, rule.width, rule.height)
        case ScaleByMultiplier():
            return scale_size(width, height, rule.multiplier)
        case ScaleLonger(longer_size=side) | ScaleShorter(shorter_size=side):
            is_width = (width >= height) == isinstance(rule, ScaleLonger)
            return fit_size(width, height, *((side, 0) if is_width else (0, side)))
        case ScaleWidth():
            return fit_size(width, height, rule.width, 0)
        case ScaleHeight():
            return fit_size(width, height, 0, rule.height)
        case ScaleArea():
            return size_of_area(width, height, rule.megapixels)
    return int(rule.match.shape[2]), int(rule.match.shape[1])


def _cover_multiple(image: Image, multiple: int, method: str) -> Image:
    """Return images cropped to multiples of a side, after the smallest scaling that covers them."""
    from latentloom.diffusion.images.layout import crop
    from latentloom.diffusion.images.resize import resize_image

    height, width = image.shape[1:3]
    if min(width, height) < multiple:
        got = f"{width}×{height}"
        raise InputError("input", f"at least {multiple} pixels a side", got)
    across, down = width // multiple * multiple, height // multiple * multiple
    if (across, down) == (width, height):
        return image
    if across * height >= down * width:
        size = across, -(-height * across // width)
    else:
        size = -(-width * down // height), down
    resized = resize_image(image, *size, method)
    return crop(resized, (size[0] - across) // 2, (size[1] - down) // 2, across, down)
