"""Images in other sizes."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Crop, Image, ImageResize, Pixels, PixelsOrAuto, ScaleFactor

Megapixels = Annotated[float, Between(0.01, 16.0, step=0.01)]
PaddingColor = Literal["white", "black"]


class ImageSize(NamedTuple):
    """The outputs of GetImageSize."""

    width: int
    height: int
    batch_size: int


@node("ImageScale", category="image/upscaling")
def image_scale(
    image: Image,
    upscale_method: ImageResize = "nearest-exact",
    width: PixelsOrAuto = 512,
    height: PixelsOrAuto = 512,
    crop: Crop = "disabled",
) -> Image:
    """Resize images to a size in pixels.

    Args:
        image: images B×H×W×C.
        upscale_method: how pixels are read; none but area and lanczos is antialiased.
        width, height: new size in pixels; 0 keeps the aspect, two zeros the size.
        crop: center first cuts the longer side to the new aspect, disabled stretches.
    """
    from latentloom.diffusion.images.resize import fit_size, resize_image

    if width == 0 and height == 0:
        return image
    size = fit_size(image.shape[2], image.shape[1], width, height)
    return resize_image(image, *size, upscale_method, crop)


@node("ImageScaleBy", category="image/upscaling")
def image_scale_by(
    image: Image, upscale_method: ImageResize = "nearest-exact", scale_by: ScaleFactor = 1.0
) -> Image:
    """Resize both sides of images by one factor.

    Args:
        image: images B×H×W×C.
        upscale_method: how pixels are read.
        scale_by: factor for both sides; the new size is rounded.
    """
    from latentloom.diffusion.images.resize import resize_image, scale_size

    size = scale_size(image.shape[2], image.shape[1], scale_by)
    return resize_image(image, *size, upscale_method)


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    image: Image, upscale_method: ImageResize = "nearest-exact", megapixels: Megapixels = 1.0
) -> Image:
    """Resize images to about an area, keeping their aspect.

    Args:
        image: images B×H×W×C.
        upscale_method: how pixels are read.
        megapixels: the new area, in units of 1024×1024 pixels.
    """
    from latentloom.diffusion.images.resize import resize_image, size_of_area

    size = size_of_area(image.shape[2], image.shape[1], megapixels)
    return resize_image(image, *size, upscale_method)


@node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    image: Image, upscale_method: ImageResize = "area", largest_size: PixelsOrAuto = 512
) -> Image:
    """Resize images so that the longer side has a length, keeping their aspect.

    Args:
        image: images B×H×W×C.
        upscale_method: how pixels are read.
        largest_size: of the longer side, in pixels; 0 keeps the size.
    """
    from latentloom.diffusion.images.resize import fit_size, resize_image

    height, width = image.shape[1:3]
    expected = (largest_size, 0) if width >= height else (0, largest_size)
    return resize_image(image, *fit_size(width, height, *expected), upscale_method)


@node("ResizeAndPadImage", category="image/transform")
def resize_and_pad_image(
    image: Image,
    target_width: Pixels = 512,
    target_height: Pixels = 512,
    padding_color: PaddingColor = "white",
    interpolation: ImageResize = "area",
) -> Image:
    """Fit images into a size in their aspect, in the middle of a plain ground.

    Args:
        image: images B×H×W×C.
        target_width, target_height: the new size in pixels.
        padding_color: of the ground.
        interpolation: how pixels are read.
    """
    from latentloom.diffusion.images.layout import fit_and_pad

    return fit_and_pad(image, target_width, target_height, padding_color, interpolation)


@node("GetImageSize", category="image")
def get_image_size(image: Image) -> ImageSize:
    """The size of images.

    Args:
        image: images B×H×W×C.
    """
    batch, height, width = image.shape[:3]
    return ImageSize(width, height, batch)
