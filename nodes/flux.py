"""Flux models: empty latents, guidance as a number, and reference images."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import BatchSize, Conditioning, GuidanceNumber, Image, Latent

CATEGORY = "model/conditioning/flux"
LatentSide = Annotated[int, Between(16, 16_384, step=16)]
ReferenceMethod = Literal["offset", "index", "uxo/uno", "index_timestep_zero"]
# Width and height of the images that Kontext was trained with; their transposes too.
KONTEXT_SIZES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184),
    (944, 1104), (1024, 1024),
)  # fmt: skip


@node("EmptySD3LatentImage", category="model/latent/stable diffusion")
def empty_sd3_latent_image(
    width: LatentSide = 1024, height: LatentSide = 1024, batch_size: BatchSize = 1
) -> Latent:
    """Create empty latents of 16 channels, for text to image with Flux.1, SD3 and later models.

    Args:
        width, height: size in pixels.
        batch_size: number of latents.

    Source: ComfyUI's EmptySD3LatentImage.
    """
    from latentloom.diffusion.families.space import SD3
    from latentloom.diffusion.latents.latents import make_empty

    return make_empty(width, height, batch_size, SD3.channels)


@node("EmptyFlux2LatentImage", category="model/latent/flux")
def empty_flux2_latent_image(
    width: LatentSide = 1024, height: LatentSide = 1024, batch_size: BatchSize = 1
) -> Latent:
    """Create empty latents of 128 channels with cells of 16 pixels, for Flux.2.

    In a model with smaller cells the image has as many cells, and so fewer pixels.

    Args:
        width, height: size in pixels.
        batch_size: number of latents.

    Source: ComfyUI's EmptyFlux2LatentImage.
    """
    import torch

    from latentloom.diffusion.families.space import FLUX2
    from latentloom.diffusion.latents import latents

    cells = (height // FLUX2.cell_px, width // FLUX2.cell_px)
    return latents.Latent(torch.zeros(batch_size, FLUX2.channels, *cells))


@node("FluxGuidance", category=CATEGORY)
def flux_guidance(conditioning: Conditioning, guidance: GuidanceNumber = 3.5) -> Conditioning:
    """Set the guidance that distilled models take as a number, instead of CFG.

    Args:
        conditioning: the encoded prompt.
        guidance: higher follows the prompt more closely.

    Source: ComfyUI's FluxGuidance.
    """
    from latentloom.diffusion.conditioning.conditioning import with_guidance

    return with_guidance(conditioning, guidance)


@node("FluxDisableGuidance", category=CATEGORY)
def flux_disable_guidance(conditioning: Conditioning) -> Conditioning:
    """Leave out the guidance that distilled models take as a number.

    Args:
        conditioning: the encoded prompt.

    Source: ComfyUI's FluxDisableGuidance.
    """
    from latentloom.diffusion.conditioning.conditioning import with_guidance

    return with_guidance(conditioning, "off")


@node("ReferenceLatent", category="model/conditioning")
def reference_latent(conditioning: Conditioning, latent: Latent | None = None) -> Conditioning:
    """Add an image to refer to, for models such as Flux Kontext.

    Args:
        conditioning: the encoded prompt; each use adds one image.
        latent: the encoded image; without it the conditioning stays as it is.

    Source: ComfyUI's ReferenceLatent.
    """
    from latentloom.diffusion.conditioning.conditioning import with_reference

    return conditioning if latent is None else with_reference(conditioning, latent.samples)


@node("FluxKontextMultiReferenceLatentMethod", category=CATEGORY)
def flux_kontext_multi_reference_latent_method(
    conditioning: Conditioning, reference_latents_method: ReferenceMethod = "offset"
) -> Conditioning:
    """Select how several reference images are positioned.

    Args:
        conditioning: the encoded prompt with reference images.
        reference_latents_method: offset puts them beside each other on one canvas, index on the
            image with an index each, uxo/uno past each other; index_timestep_zero is index for
            models that treat references as images without noise.

    Source: ComfyUI's FluxKontextMultiReferenceLatentMethod.
    """
    from latentloom.diffusion.conditioning.conditioning import with_reference_method

    return with_reference_method(conditioning, reference_latents_method)


@node("FluxKontextImageScale", category=CATEGORY)
def flux_kontext_image_scale(image: Image) -> Image:
    """Resize images to the size nearest in aspect ratio of those that Kontext was trained with.

    Args:
        image: B×H×W×C; cropped around the centre to the new aspect ratio.

    Source: ComfyUI's FluxKontextImageScale.
    """
    from latentloom.diffusion.images.resize import resize_image

    ratio = image.shape[2] / image.shape[1]
    sizes = (*KONTEXT_SIZES, *(size[::-1] for size in KONTEXT_SIZES))
    width, height = min(sizes, key=lambda size: abs(ratio - size[0] / size[1]))
    return resize_image(image, width, height, "lanczos", "center")
