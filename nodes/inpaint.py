"""Inpainting and editing: latents with a hole, models that see an image, grey masks."""

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
    """Both sides, told of an image, and the latent to sample from."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("VAEEncodeForInpaint", category="latent/inpaint", device=True)
def vae_encode_for_inpaint(
    pixels: Image, vae: Vae, mask: Mask, grow_mask_by: GrowthSquare = 6
) -> Latent:
    """Encode an image whose masked part is forgotten, to be painted anew at denoise 1.

    Args:
        pixels: B×H×W×C; cut to multiples of the VAE's factor around its centre.
        vae: the autoencoder.
        mask: masks B×H×W, resized to the image; more than 0.5 is painted grey.
        grow_mask_by: side of the square that the latent's noise mask is grown with, in pixels.

    Raises:
        InputError: the image is smaller than one latent cell, or the mask is none.

    Source: ComfyUI's VAEEncodeForInpaint.
    """
    from latentloom.diffusion.conditioning.inpaint import encode_for_inpaint

    check_fills_a_cell("pixels", pixels, vae)
    check_mask("mask", mask)
    return encode_for_inpaint(vae, pixels, mask, grow_mask_by)


@node("InpaintModelConditioning", category="conditioning/inpaint", device=True)
def inpaint_model_conditioning(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: bool = True,
) -> ImageConditioning:
    """Tell an inpainting model what is around the hole; other models take the latent alone.

    Args:
        positive, negative: each entry is given the hole.
        vae: the autoencoder.
        pixels: B×H×W×C; cut to multiples of the VAE's factor around its centre.
        mask: masks B×H×W, resized to the image, 1 in the hole.
        noise_mask: also keep the sampler inside the mask.

    Raises:
        InputError: the image is smaller than one latent cell, or the mask is none.

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


@node("InstructPixToPixConditioning", category="conditioning/instructpix2pix", device=True)
def instruct_pix_to_pix_conditioning(
    positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image
) -> ImageConditioning:
    """Show a model that edits by instructions the image to change.

    Args:
        positive, negative: each entry is given the image. For a guidance by the image of its
            own, give DualCFGGuider these two and a negative without the image.
        vae: the autoencoder.
        pixels: B×H×W×C; cut to multiples of the VAE's factor around its centre.

    Raises:
        InputError: the image is smaller than one latent cell.

    Source: ComfyUI's InstructPixToPixConditioning; the latent it gives is empty.
    """
    from latentloom.diffusion.conditioning.conditioning import with_image
    from latentloom.diffusion.networks.vae import encode

    check_fills_a_cell("pixels", pixels, vae)
    found = encode(vae, pixels)
    positive, negative = (with_image(each, found.samples) for each in (positive, negative))
    empty = replace(found, samples=found.samples.new_zeros(found.shape))
    return ImageConditioning(positive, negative, empty)


@node("DifferentialDiffusion", category="_for_testing")
def differential_diffusion(model: Model, strength: Share = 1.0) -> Model:
    """Let a grey noise mask say how much each place may change: v of the way, from its end.

    Args:
        model: the model to sample with.
        strength: share of the hard mask of each step, the rest is the grey one; 0 is all, as 1.

    Source: arXiv 2306.00950; ComfyUI's DifferentialDiffusion.
    """
    from latentloom.diffusion.sampling.differential import DifferentialMask

    others = tuple(each for each in model.patches if not isinstance(each, DifferentialMask))
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
    """Bring the tone inside a mask to that of the ring around it, before pasting back.

    Means and spreads are compared in CIE Lab; contrast changes by at most half.

    Args:
        image: the painted images B×H×W×C, as decoded: as large as the source, or that cut to
            whole latent cells.
        source: the images as they were.
        mask: masks B×H×W, resized to the images; more than 0.5 is inside.
        ring: width of the ring around the mask that is compared, in pixels.
        strength: share of the correction.
        measure: drift takes out how far the painted image's ring is from the source's, which
            should be alike; surroundings gives the inside mean and spread of the source's ring.

    Raises:
        InputError: the sizes differ.
    """
    from latentloom.diffusion.images.paste import cut_like
    from latentloom.diffusion.images.tone import fix_tone

    check_mask("mask", mask)
    with as_input_error("image"):
        before, inside = cut_like(image, source, mask)
    assert inside is not None
    return fix_tone(image, before, inside, ring, strength, measure == "drift")
