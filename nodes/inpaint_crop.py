"""Inpainting at a model's native size: crop the masked part, inpaint it, stitch it back."""

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


class CroppedInpaint(NamedTuple):
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
) -> CroppedInpaint:
    """Crop the masked part of images, with context, and resize it to a model's native size.

    All crops have the same size: sides are multiples of 8, and the area is about that of the
    target size. Inpaint the crops with `cropped_mask`, then give them to InpaintStitch.

    Args:
        image: images B×H×W×C.
        mask: masks B×H×W, resized to the images; everything above 0 is inpainted.
        context_expand_pixels: context on each side in pixels; limited to the image.
        context_expand_factor: factor for the sides of the masked part, before pixels are added.
        blend_pixels: pixels to grow `cropped_mask` by; the result fades out over them, and
            nothing changes beyond.
        islands: together makes one crop per image, apart one for each separate region of its
            mask; regions whose blend areas touch count as one.
        target_size: side in pixels of a square with the area of a crop; 0 is the native size of
            `model`, or 512 without a model.
        rescale_algorithm: the resampling filter.
        model: the model that will sample the crops.

    Raises:
        InputError: the mask is empty, or not B×H×W.
    """
    from latentloom.diffusion.images.crop_stitch import CropPlan, cut

    check_mask("mask", mask)
    native_px = target_size or (model.family.native_size if model else DEFAULT_SIDE_PX)
    plan = CropPlan(
        context_px=context_expand_pixels,
        context_factor=context_expand_factor,
        blend_px=blend_pixels,
        native_px=native_px,
        is_separate=islands == "apart",
        method=rescale_algorithm,
    )
    hint = "draw the part to inpaint in white; after a detector that may find nothing, use IfFound"
    with as_input_error("mask", hint=hint):
        return CroppedInpaint(*cut(image, mask, plan))


@node("InpaintStitch", category="image/inpaint")
def inpaint_stitch(stitch: Stitch, inpainted_image: Image) -> Image:
    """Put inpainted crops back into the images that InpaintCrop cropped them from.

    Further than `blend_pixels` from the mask, pixels keep the source's exact values.

    Args:
        stitch: the record of the crops, from InpaintCrop.
        inpainted_image: the inpainted crops in the same order, of any size; the source's alpha
            is kept if they have none.

    Raises:
        InputError: the number of crops differs.
    """
    from latentloom.diffusion.images.crop_stitch import put_back

    count = len(stitch.positions)
    if len(inpainted_image) != count:
        expected = f"{count} images, one for each crop"
        raise InputError("inpainted_image", expected, len(inpainted_image))
    return put_back(stitch, inpainted_image)
