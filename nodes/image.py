"""Images: batches, blends and pastes."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import check_mask
from .ports import BatchSize, Color, Image, Mask, Offset, Pixels, Share

BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
ImageIndex = Annotated[int, Between(0, 4095)]


@node("ImageBatch", category="image")
def image_batch(image1: Image, image2: Image) -> Image:
    """Put two batches of images into one.

    Args:
        image1: the first images; their size is the size of the batch.
        image2: the images that follow; resized and centre-cropped to that size.
    """
    from latentloom.diffusion.images.compose import join

    return join(image1, image2)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(image: Image, batch_index: ImageIndex = 0, length: BatchSize = 1) -> Image:
    """Take some images out of a batch.

    Args:
        image: images B×H×W×C.
        batch_index: the first, from 0; past the end it is the last.
        length: how many, cut to what is there.
    """
    start = min(batch_index, len(image) - 1)
    return image[start : start + length].clone()


@node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(image: Image, amount: BatchSize = 1) -> Image:
    """Repeat a batch of images.

    Args:
        image: images B×H×W×C.
        amount: how many times.
    """
    return image.repeat(amount, 1, 1, 1)


@node("RebatchImages", category="image/batch")
def rebatch_images(images: list[Image], batch_size: BatchSize = 1) -> list[Image]:
    """Put batches of images together and cut them anew; what follows runs once for each.

    Args:
        images: batches B×H×W×C; a new batch begins where the size changes.
        batch_size: how many a batch has at most.
    """
    from latentloom.diffusion.latents.rebatch import rebatch_images

    return rebatch_images(images, batch_size)


@node("EmptyImage", category="image")
def empty_image(
    width: Pixels = 512, height: Pixels = 512, batch_size: BatchSize = 1, color: Color = 0
) -> Image:
    """Images of one colour.

    Args:
        width, height: size in pixels.
        batch_size: how many.
        color: the colour, 65536·red + 256·green + blue.
    """
    from latentloom.diffusion.images.layout import plain

    return plain(width, height, batch_size, color)


@node("ImageInvert", category="image")
def image_invert(image: Image) -> Image:
    """The negative of images: 1 - v.

    Args:
        image: images B×H×W×C.
    """
    return 1.0 - image


@node("ImageBlend", category="image/postprocessing")
def image_blend(
    image1: Image, image2: Image, blend_factor: Share = 0.5, blend_mode: BlendMode = "normal"
) -> Image:
    """Lay one image over another in a blend mode.

    Args:
        image1: the images below; theirs is the size of the result.
        image2: the images above; resized and centre-cropped to that size.
        blend_factor: share of the blend; 0 gives `image1`.
        blend_mode: how the two meet; difference is signed and cut at 0.
    """
    from latentloom.diffusion.images.compose import blend

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
    """Paste an image on another; where the mask is 0 the destination keeps its exact values.

    Args:
        destination: the image below; its size and batch are those of the result.
        source: the image that is pasted; what reaches outside is cut.
        x, y: where the source's top left corner comes, in pixels of the destination.
        resize_source: first stretch the source to the size of the destination.
        mask: where the source shows, 1 fully; resized to the source. Everywhere if not given.
    """
    from latentloom.diffusion.images.compose import composite

    check_mask("mask", mask)
    return composite(destination, source, x, y, mask, resize_source)
