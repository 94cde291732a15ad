"""Inpainting: latents of masked images, and the extra input channels of inpainting models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..families.family import Family
from ..images.compose import match_batches, repeat_to_batch
from ..images.masks import max_filter
from ..images.resize import resize, resize_mask
from ..latents.latents import Latent
from ..networks.handles import Vae
from ..networks.vae import crop_to_cells, encode

# A grey image in the scaled latent space of Stable Diffusion 1.
GREY_LATENT = (0.8223, -0.6876, 0.6364, 0.1380)


@dataclass(frozen=True, eq=False)
class InpaintMask:
    """The extra conditioning of an inpainting model.

    Attributes:
        mask: B×H×W of any size, 1 where the model paints.
        latent: B×C×h×w in unscaled VAE space, of the image with its masked part grey.
    """

    mask: Tensor
    latent: Tensor


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


def inpaint_channels(
    x: Tensor, inpaint: InpaintMask | None, source: Latent | None, family: Family
) -> Tensor:
    """Return the 1 + C extra input channels of an inpainting model: mask, masked image.

    Args:
        x: B×C×h×w; gives size and batch.
        inpaint: of this conditioning; without one, `source` and its noise mask are used.
        source: the latent that is sampled from; without a noise mask all of it is masked.
        family: of the model.
    """
    if inpaint is None and source is not None and source.noise_mask is not None:
        # Stretched over the latent, as in sampling; an inpaint mask is cropped to its aspect ratio.
        inpaint = InpaintMask(
            resize_mask(source.noise_mask, x.shape[-1], x.shape[-2]), source.samples
        )
    if inpaint is None:
        grey = x.new_tensor(GREY_LATENT)[None, :, None, None].expand_as(x)
        return torch.cat([torch.ones_like(x[:, :1]), grey], dim=1)
    height, width = x.shape[-2:]
    mask, latent = inpaint.mask[:, None], family.to_model(inpaint.latent)
    if mask.shape[-2:] != x.shape[-2:]:
        mask = resize(mask, width, height, "bilinear", "center")
    if latent.shape[-2:] != x.shape[-2:]:
        latent = resize(latent, width, height, "bilinear", "center")
    channels = (mask.round(), latent)
    return torch.cat([repeat_to_batch(part, len(x)).to(x) for part in channels], dim=1)
