"""Images: batches, blending and compositing."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import check_mask
from .ports import BatchSize, Color, Image, Mask, Offset, Pixels, Share

BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
ImageIndex = Annotated[int, Between(-16_384, 16_384)]


@node("ImageBatch", category="image/batch")
def image_batch(image1: Image, image2: Image) -> Image:
    """Join two batches of images.

    Args:
        image1: the first images B×H×W×C; they set the size.
        image2: the images that follow, resized and centre-cropped to that size.
    """
    from latentloom.diffusion.images.compose import join

    return join(image1, image2)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(image: Image, batch_index: ImageIndex = 0, length: BatchSize = 1) -> Image:
    """Select consecutive images from a batch.

    Args:
        image: images B×H×W×C.
        batch_index: index of the first image, from 0, or from the end if negative; limited to
            the batch.
        length: number of images; limited to the end of the batch.
    """
    start = batch_index if batch_index >= 0 else max(len(image) + batch_index, 0)
    start = min(start, len(image) - 1)
    return image[start : start + length].clone()


@node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(image: Image, amount: BatchSize = 1) -> Image:
    """Repeat a batch of images.

    Args:
        image: images B×H×W×C.
        amount: number of repetitions.
    """
    return image.repeat(amount, 1, 1, 1)


@node("RebatchImages", category="image/batch")
def rebatch_images(images: list[Image], batch_size: BatchSize = 1) -> list[Image]:
    """Regroup images into batches of another size; the nodes that follow run once per batch.

    Args:
        images: batches B×H×W×C; a new batch starts where the image size changes.
        batch_size: largest number of images per batch.
    """
    from latentloom.diffusion.latents.rebatch import rebatch_images

    return rebatch_images(images, batch_size)


@node("EmptyImage", category="image")
def empty_image(
    width: Pixels = 512, height: Pixels = 512, batch_size: BatchSize = 1, color: Color = 0
) -> Image:
    """Create images of one colour.

    Args:
        width, height: size in pixels.
        batch_size: number of images.
        color: the colour, 65536·red + 256·green + blue.
    """
    from latentloom.diffusion.images.layout import fill_color

    return fill_color(width, height, batch_size, color)


@node("ImageInvert", category="image/color")
def image_invert(image: Image) -> Image:
    """Invert the colours of images: 1 - v in every channel.

    Args:
        image: images B×H×W×C.
    """
    return 1.0 - image


@node("ImageBlend", category="image/filters")
def image_blend(
    image1: Image, image2: Image, blend_factor: Share = 0.5, blend_mode: BlendMode = "normal"
) -> Image:
    """Blend one image over another.

    Args:
        image1: the lower images B×H×W×C; they set the size.
        image2: the upper images, resized and centre-cropped to that size.
        blend_factor: opacity of the blend, 0 to 1; 0 returns `image1`.
        blend_mode: the blend mode; difference is `image1` - `image2`, clamped to 0..1.
    """
    from latentloom.diffusion.images.compose import blend

    return blend(image1, image2, blend_factor, blend_mode)


@node("ImageCompositeMasked", category="image/compositing")
def image_composite_masked(
    destination: Image,
    source: Image,
    x: Offset = 0,
    y: Offset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:
    """Paste an image on another; where the mask is 0, the destination's values do not change.

    Args:
        destination: the images B×H×W×C to paste on; they set size and batch.
        source: the images to paste; what reaches outside is cropped.
        x, y: position of the source's top left corner, in pixels of the destination.
        resize_source: first resize the source to the size of the destination.
        mask: opacity of the source, B×H×W, resized to it; 1 everywhere if not given.
    """
    from latentloom.diffusion.images.compose import composite

    check_mask("mask", mask)
    return composite(destination, source, x, y, mask, resize_source)
