"""Inpainting: latents of masked images, with the extra conditioning of inpainting models."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ..families.conditions import InpaintMask
from ..images.compose import match_batches
from ..images.masks import max_filter
from ..images.resize import resize_mask
from ..latents.latents import Latent
from ..networks.handles import Vae
from ..networks.vae import crop_to_cells, encode


class Inpainting(NamedTuple):
    """The latent of an image, and its extra conditioning for an inpainting model."""

    latent: Latent
    inpaint: InpaintMask


def encode_for_inpaint(vae: Vae, pixels: Tensor, mask: Tensor, grow: int) -> Latent:
    """Encode an image with its masked part grey, and a hard noise mask that is a little larger.

    Args:
        pixels: B×H×W×C, cropped to multiples of the VAE's factor; so is the mask.
        mask: masks B×H×W, resized to the image; 0.5 and less is outside.
        grow: side in pixels of the square that grows the noise mask.
    """
    pixels, mask = _fit_to_cells(vae, pixels, mask)
    latent = encode(vae, _paint_grey(pixels, mask))
    hard = mask.round()
    if grow > 1:
        before = grow // 2
        for axis in (1, 2):
            hard = max_filter(hard, axis, before, grow - 1 - before)
    return replace(latent, noise_mask=hard)


def encode_for_inpaint_model(vae: Vae, pixels: Tensor, mask: Tensor) -> Inpainting:
    """Encode an image, and the same image with its masked part grey for an inpainting model.

    Args:
        pixels: B×H×W×C, cropped to multiples of the VAE's factor; so is the mask.
        mask: masks B×H×W, resized to the image; the noise mask stays soft.
    """
    pixels, mask = _fit_to_cells(vae, pixels, mask)
    inpaint = InpaintMask(mask, encode(vae, _paint_grey(pixels, mask)).samples)
    return Inpainting(replace(encode(vae, pixels), noise_mask=mask), inpaint)


def _fit_to_cells(vae: Vae, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    mask = resize_mask(mask, pixels.shape[2], pixels.shape[1])
    factor = vae.family.vae_factor
    return crop_to_cells(pixels, factor), crop_to_cells(mask, factor)


def _paint_grey(pixels: Tensor, mask: Tensor) -> Tensor:
    pixels, mask = match_batches(pixels, mask)
    return (pixels - 0.5) * (1 - mask.round()).unsqueeze(-1) + 0.5
