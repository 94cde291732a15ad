"""Inpainting and editing: masked latents, image conditioning, soft masks, tone."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_fills_a_cell, check_mask
from .ports import Conditioning, Image, Latent, Mask, Model, Share, Vae

GrowthSquare = Annotated[int, Between(0, 64)]
RingWidth = Annotated[int, Between(1, 512)]
ToneMeasure = Literal["drift", "surroundings"]


class ImageConditioning(NamedTuple):
    """Conditioning with an image added, and the latent to sample from."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("VAEEncodeForInpaint", category="model/latent", device=True)
def vae_encode_for_inpaint(
    pixels: Image, vae: Vae, mask: Mask, grow_mask_by: GrowthSquare = 6
) -> Latent:
    """Encode an image for inpainting at denoise 1; the masked part is erased first.

    Args:
        pixels: images B×H×W×C; centre-cropped to a multiple of the VAE's factor.
        vae: the VAE.
        mask: masks B×H×W, resized to the image; pixels above 0.5 are replaced by grey.
        grow_mask_by: side in pixels of the square kernel that grows the latent's noise mask.

    Raises:
        InputError: the image is smaller than one latent cell, or the mask is not B×H×W.

    Source: ComfyUI's VAEEncodeForInpaint.
    """
    from latentloom.diffusion.conditioning.inpaint import encode_for_inpaint

    check_fills_a_cell("pixels", pixels, vae)
    check_mask("mask", mask)
    return encode_for_inpaint(vae, pixels, mask, grow_mask_by)


@node("InpaintModelConditioning", category="model/conditioning", device=True)
def inpaint_model_conditioning(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: bool = True,
) -> ImageConditioning:
    """Add the masked image and the mask to conditioning, for inpainting models.

    Other models ignore them and use the latent only.

    Args:
        positive, negative: the conditioning to add them to.
        vae: the VAE.
        pixels: images B×H×W×C; centre-cropped to a multiple of the VAE's factor.
        mask: masks B×H×W, resized to the image; 1 where to inpaint.
        noise_mask: also set the mask as noise mask of the latent.

    Raises:
        InputError: the image is smaller than one latent cell, or the mask is not B×H×W.

    Source: ComfyUI's InpaintModelConditioning.
    """
    from latentloom.diffusion.conditioning.conditioning import with_inpaint_mask
    from latentloom.diffusion.conditioning.inpaint import encode_for_inpaint_model

    check_fills_a_cell("pixels", pixels, vae)
    check_mask("mask", mask)
    latent, inpaint = encode_for_inpaint_model(vae, pixels, mask)
    if not noise_mask:
        latent = replace(latent, noise_mask=None)
    return ImageConditioning(
        with_inpaint_mask(positive, inpaint), with_inpaint_mask(negative, inpaint), latent
    )


@node("InstructPixToPixConditioning", category="model/conditioning/instructpix2pix", device=True)
def instruct_pix_to_pix_conditioning(
    positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image
) -> ImageConditioning:
    """Add the image to edit to conditioning, for InstructPix2Pix models; the latent is empty.

    Args:
        positive, negative: the conditioning to add the image to. To guide by the image
            separately, give DualCFGGuider both outputs and a negative without the image.
        vae: the VAE.
        pixels: images B×H×W×C; centre-cropped to a multiple of the VAE's factor.

    Raises:
        InputError: the image is smaller than one latent cell.

    Source: ComfyUI's InstructPixToPixConditioning.
    """
    from latentloom.diffusion.conditioning.conditioning import with_image
    from latentloom.diffusion.networks.vae import encode

    check_fills_a_cell("pixels", pixels, vae)
    latent = encode(vae, pixels)
    positive, negative = (with_image(side, latent.samples) for side in (positive, negative))
    empty = replace(latent, samples=latent.samples.new_zeros(latent.shape))
    return ImageConditioning(positive, negative, empty)


@node("DifferentialDiffusion", category="experimental")
def differential_diffusion(model: Model, strength: Share = 1.0) -> Model:
    """Make soft noise masks work per pixel: a pixel of value v changes in the last v of sampling.

    Args:
        model: the model to sample with.
        strength: mix of each step's binary mask (1) and the soft mask; 0 acts as 1.

    Source: arXiv 2306.00950; ComfyUI's DifferentialDiffusion.
    """
    from latentloom.diffusion.sampling.differential import DifferentialMask

    others = tuple(patch for patch in model.patches if not isinstance(patch, DifferentialMask))
    return replace(model, patches=(*others, DifferentialMask(strength)))


@node("MaskedToneFix", category="image/inpaint")
def masked_tone_fix(
    image: Image,
    source: Image,
    mask: Mask,
    ring: RingWidth = 16,
    strength: Share = 1.0,
    measure: ToneMeasure = "drift",
) -> Image:
    """Match the tone inside a mask to the ring around it, before pasting back.

    Mean and standard deviation are matched in CIE Lab; contrast changes by a factor of 1.5 at
    most.

    Args:
        image: the inpainted images B×H×W×C as decoded: the source's size, or that cropped to
            whole latent cells.
        source: the original images.
        mask: masks B×H×W, resized to the images; above 0.5 is inside.
        ring: width in pixels of the ring around the mask that is compared.
        strength: strength of the correction, 0 to 1.
        measure: drift compares the ring in both images, which should not have changed, and
            removes the difference; surroundings matches the inside to the source's ring.

    Raises:
        InputError: the sizes differ.
    """
    from latentloom.diffusion.images.paste import crop_like
    from latentloom.diffusion.images.tone import fix_tone

    check_mask("mask", mask)
    with as_input_error("image"):
        before, inside = crop_like(image, source, mask)
    assert inside is not None
    return fix_tone(image, before, inside, ring, strength, measure == "drift")
