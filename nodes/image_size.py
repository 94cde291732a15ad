"""Image sizes: resize, fit and measure."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Crop, Image, ImageResize, Megapixels, Pixels, PixelsOrAuto, ScaleFactor

ResolutionSteps = Annotated[int, Between(1, 256)]
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
        upscale_method: the resampling filter; only area and lanczos are antialiased.
        width, height: new size in pixels; one 0 keeps the aspect ratio, two keep the size.
        crop: center first crops to the new aspect ratio, disabled stretches.
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
    """Resize images by a factor.

    Args:
        image: images B×H×W×C.
        upscale_method: the resampling filter.
        scale_by: factor for width and height; the new size is rounded.
    """
    from latentloom.diffusion.images.resize import resize_image, scale_size

    size = scale_size(image.shape[2], image.shape[1], scale_by)
    return resize_image(image, *size, upscale_method)


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    image: Image,
    upscale_method: ImageResize = "nearest-exact",
    megapixels: Megapixels = 1.0,
    resolution_steps: ResolutionSteps = 1,
) -> Image:
    """Resize images to a number of megapixels, keeping their aspect ratio.

    Args:
        image: images B×H×W×C.
        upscale_method: the resampling filter.
        megapixels: approximate new area, in units of 1024×1024 pixels.
        resolution_steps: width and height are multiples of this.
    """
    from latentloom.diffusion.images.resize import resize_image, size_of_area

    size = size_of_area(image.shape[2], image.shape[1], megapixels, resolution_steps)
    return resize_image(image, *size, upscale_method)


@node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    image: Image, upscale_method: ImageResize = "area", largest_size: PixelsOrAuto = 512
) -> Image:
    """Resize images to a length of the longer side, keeping their aspect ratio.

    Args:
        image: images B×H×W×C.
        upscale_method: the resampling filter.
        largest_size: length of the longer side in pixels; 0 keeps the size.
    """
    from latentloom.diffusion.images.resize import fit_size, resize_image

    height, width = image.shape[1:3]
    target = (largest_size, 0) if width >= height else (0, largest_size)
    return resize_image(image, *fit_size(width, height, *target), upscale_method)


@node("ResizeAndPadImage", category="image/transform")
def resize_and_pad_image(
    image: Image,
    target_width: Pixels = 512,
    target_height: Pixels = 512,
    padding_color: PaddingColor = "white",
    interpolation: ImageResize = "area",
) -> Image:
    """Resize images to fit a size, keeping their aspect ratio, and pad them to it.

    Args:
        image: images B×H×W×C.
        target_width, target_height: the new size in pixels.
        padding_color: colour of the padding on both sides.
        interpolation: the resampling filter.
    """
    from latentloom.diffusion.images.layout import fit_and_pad

    return fit_and_pad(image, target_width, target_height, padding_color, interpolation)


@node("GetImageSize", category="image")
def get_image_size(image: Image) -> ImageSize:
    """Return the width, height and batch size of images.

    Args:
        image: images B×H×W×C.
    """
    batch, height, width = image.shape[:3]
    return ImageSize(width, height, batch)
