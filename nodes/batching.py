"""Batches of several images, masks or latents."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.node.ports import Growing
from latentloom.engine.node.spec import node

from .checks import check_mask, check_same_channels
from .ports import Image, Latent, Mask

Images = Annotated[dict[str, Image], Growing("image")]
Masks = Annotated[dict[str, Mask], Growing("mask")]
Latents = Annotated[dict[str, Latent], Growing("latent")]


@node("BatchImagesNode", category="image/batch")
def batch_images(images: Images) -> Image:
    """Join batches of images into one.

    Args:
        images: images B×H×W×C; the first ones set the size, to which the others are resized and
            centre-cropped; those without alpha become opaque where others have alpha.
    """
    from latentloom.diffusion.images.compose import join

    first, *others = images.values()
    for image in others:
        first = join(first, image)
    return first


@node("BatchMasksNode", category="image/mask")
def batch_masks(masks: Masks) -> Mask:
    """Join batches of masks into one.

    Args:
        masks: masks B×H×W; the first ones set the size, to which the others are resized and
            centre-cropped.
    """
    from latentloom.diffusion.images.compose import join

    for name, mask in masks.items():
        check_mask(f"masks.{name}", mask)
    first, *others = (mask.unsqueeze(-1) for mask in masks.values())
    for mask in others:
        first = join(first, mask)
    return first.squeeze(-1)


@node("BatchLatentsNode", category="model/latent/batch")
def batch_latents(latents: Latents) -> Latent:
    """Join batches of latents into one.

    Args:
        latents: latents of one space; the first ones set the size, to which the others are
            resized and centre-cropped.
    """
    from latentloom.diffusion.latents.latent_mix import join

    first, *others = latents.items()
    joined = first[1]
    for name, latent in others:
        check_same_channels(f"latents.{name}", joined, latent)
        joined = join(joined, latent)
    return joined
