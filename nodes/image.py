"""Pictures: sizes, batches, blends and pastes."""

from __future__ import annotations

from typing import Annotated, Literal

from engine.errors import InputError
from engine.ports import Between
from engine.spec import node

from .ports import Crop, Image, ImageResize, Mask, Offset, PixelsOrAuto, ScaleFactor, Share

Megapixels = Annotated[float, Between(0.01, 16.0, step=0.01)]
BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]


@node("ImageScale", category="image/upscaling")
def image_scale(
    image: Image,
    upscale_method: ImageResize = "nearest-exact",
    width: PixelsOrAuto = 512,
    height: PixelsOrAuto = 512,
    crop: Crop = "disabled",
) -> Image:
    """Resize pictures to a size in pixels.

    Args:
        image: pictures B×H×W×C.
        upscale_method: how pixels are read; none but area and lanczos is antialiased.
        width, height: new size in pixels; 0 keeps the aspect, two zeros the size.
        crop: center first cuts the longer side to the new aspect, disabled stretches.
    """
    from diffusion.resize import fit_size, resize_picture

    if width == 0 and height == 0:
        return image
    size = fit_size(image.shape[2], image.shape[1], width, height)
    return resize_picture(image, *size, upscale_method, crop)


@node("ImageScaleBy", category="image/upscaling")
def image_scale_by(
    image: Image, upscale_method: ImageResize = "nearest-exact", scale_by: ScaleFactor = 1.0
) -> Image:
    """Resize both sides of pictures by one factor.

    Args:
        image: pictures B×H×W×C.
        upscale_method: how pixels are read.
        scale_by: factor for both sides; the new size is rounded.
    """
    from diffusion.resize import resize_picture, scale_size

    size = scale_size(image.shape[2], image.shape[1], scale_by)
    return resize_picture(image, *size, upscale_method)


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    image: Image, upscale_method: ImageResize = "nearest-exact", megapixels: Megapixels = 1.0
) -> Image:
    """Resize pictures to about an area, keeping their aspect.

    Args:
        image: pictures B×H×W×C.
        upscale_method: how pixels are read.
        megapixels: the new area, in units of 1024×1024 pixels.
    """
    from diffusion.resize import resize_picture, size_of_area

    size = size_of_area(image.shape[2], image.shape[1], megapixels)
    return resize_picture(image, *size, upscale_method)


@node("ImageBatch", category="image")
def image_batch(image1: Image, image2: Image) -> Image:
    """Put two batches of pictures into one.

    Args:
        image1: the first pictures; their size is the size of the batch.
        image2: the pictures that follow; resized and centre-cropped to that size.
    """
    from diffusion.compose import join

    return join(image1, image2)


@node("ImageInvert", category="image")
def image_invert(image: Image) -> Image:
    """The negative of pictures: 1 - v.

    Args:
        image: pictures B×H×W×C.
    """
    return 1.0 - image


@node("ImageBlend", category="image/postprocessing")
def image_blend(
    image1: Image, image2: Image, blend_factor: Share = 0.5, blend_mode: BlendMode = "normal"
) -> Image:
    """Lay one picture over another in a blend mode.

    Args:
        image1: the pictures below; theirs is the size of the result.
        image2: the pictures above; resized and centre-cropped to that size.
        blend_factor: share of the blend; 0 gives `image1`.
        blend_mode: how the two meet; difference is signed and cut at 0.
    """
    from diffusion.compose import blend

    return blend(image1, image2, blend_factor, blend_mode)


@node("ImageCompositeMasked", category="image")
def image_composite_masked(
    destination: Image,
    source: Image,
    x: Offset = 0,
    y: Offset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:
    """Paste a picture on another; where the mask is 0 the destination keeps its exact values.

    Args:
        destination: the picture below; its size and batch are those of the result.
        source: the picture that is pasted; what reaches outside is cut.
        x, y: where the source's top left corner comes, in pixels of the destination.
        resize_source: first stretch the source to the size of the destination.
        mask: where the source shows, 1 fully; resized to the source. Everywhere if not given.
    """
    from diffusion.compose import composite

    if mask is not None and mask.ndim != 3:
        raise InputError("ImageCompositeMasked", "mask", "a mask B×H×W", tuple(mask.shape))
    return composite(destination, source, x, y, mask, resize_source)
