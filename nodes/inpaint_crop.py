"""Inpainting at a model's own size: the masked part is cut out, painted, and stitched back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_mask
from .ports import DEFAULT_SIDE_PX, Image, ImageResize, Mask, Model

if TYPE_CHECKING:
    from latentloom.diffusion.images import crop_stitch

Stitch = Annotated["crop_stitch.Stitch", Socket("STITCH")]
ContextPixels = Annotated[int, Between(0, 4096)]
ContextFactor = Annotated[float, Between(1.0, 100.0, step=0.01)]
BlendPixels = Annotated[int, Between(0, 512)]
TargetSize = Annotated[int, Between(0, 4096, step=8)]
Islands = Literal["together", "apart"]


class Cropped(NamedTuple):
    """The outputs of InpaintCrop."""

    stitch: Stitch
    cropped_image: Image
    cropped_mask: Mask


@node("InpaintCrop", category="image/inpaint")
def inpaint_crop(
    image: Image,
    mask: Mask,
    context_expand_pixels: ContextPixels = 32,
    context_expand_factor: ContextFactor = 1.0,
    blend_pixels: BlendPixels = 16,
    islands: Islands = "together",
    target_size: TargetSize = 0,
    rescale_algorithm: ImageResize = "bicubic",
    model: Model | None = None,
) -> Cropped:
    """Cut what a mask covers out of images, with context, at the size that a model likes.

    Every crop has the same size, sides that are multiples of 8, and about the area that was asked
    for. Sample the crops inside `cropped_mask`, then give them to InpaintStitch.

    Args:
        image: images B×H×W×C.
        mask: masks B×H×W, resized to the images; what is not 0 is painted.
        context_expand_pixels: what is seen around the part on each side, in pixels, as far as
            the image reaches.
        context_expand_factor: sides of the part are first multiplied with this.
        blend_pixels: `cropped_mask` is the mask grown by this many pixels, over which what is
            painted fades out; beyond them nothing changes.
        islands: together cuts one part out of each image, apart one for each island of its
            mask, where islands are further than their rings apart.
        target_size: side of a square of the area of each crop; 0 is the native size of `model`,
            or 512 without one.
        rescale_algorithm: how pixels are read when sizes change.
        model: the model that will sample the crops.

    Raises:
        InputError: the mask is empty, or none.
    """
    from latentloom.diffusion.images.crop_stitch import CropPlan, cut

    check_mask("mask", mask)
    native = target_size or (model.family.native_size if model is not None else DEFAULT_SIDE_PX)
    plan = CropPlan(
        context_expand_pixels,
        context_expand_factor,
        blend_pixels,
        native,
        islands == "apart",
        rescale_algorithm,
    )
    hint = "draw the part to inpaint in white; after a detector that may find nothing, use IfFound"
    with as_input_error("mask", hint=hint):
        return Cropped(*cut(image, mask, plan))


@node("InpaintStitch", category="image/inpaint")
def inpaint_stitch(stitch: Stitch, inpainted_image: Image) -> Image:
    """Put painted crops back into the images that InpaintCrop cut them from.

    More than `blend_pixels` from the mask every value is the source's, and so is every byte of
    the saved image.

    Args:
        stitch: from InpaintCrop.
        inpainted_image: its crops, painted, of any size, in the same order; without alpha they
            leave the source's as it is.

    Raises:
        InputError: there are more or fewer crops than were cut.
    """
    from latentloom.diffusion.images.crop_stitch import put_back

    expected = len(stitch.places)
    if len(inpainted_image) != expected:
        text = f"{expected} images, as many as were cut"
        raise InputError("inpainted_image", text, len(inpainted_image))
    return put_back(stitch, inpainted_image)
