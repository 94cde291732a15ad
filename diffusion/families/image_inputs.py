"""Input channels next to a latent's: of models that inpaint, and of models that edit an image.

Source of editing: InstructPix2Pix (arXiv 2211.09800).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .conditions import InpaintMask, Prompt, SourceLatent
from .family import Family

if TYPE_CHECKING:
    from torch import Tensor

# A grey image in the scaled latent space of Stable Diffusion 1.
GREY_LATENT = (0.8223, -0.6876, 0.6364, 0.1380)


def extra_channels(
    family: Family, x: Tensor, prompt: Prompt, source: SourceLatent | None
) -> Tensor | None:
    """Return the extra input channels of a UNet; None if it takes those of a latent only.

    Args:
        x: B×C×h×w; gives size and batch.
        source: the latent that is sampled from, for inpainting without an inpaint mask.
    """
    if family.in_channels == x.shape[1]:
        return None
    if family.is_edit_model:
        return image_channels(x, prompt.image, prompt.inpaint)
    return inpaint_channels(x, prompt.inpaint, source, family)


def image_channels(x: Tensor, image: Tensor | None, inpaint: InpaintMask | None) -> Tensor:
    """Return the C extra input channels of an editing model.

    Args:
        x: B×C×h×w; gives size and batch.
        image: B×C×h×w in unscaled VAE space, on which these models are trained.
        inpaint: its latent stands in for a missing image; without both the channels are 0.
    """
    from ..images.compose import repeat_to_batch

    latent = inpaint.latent if image is None and inpaint is not None else image
    if latent is None:
        return x.new_zeros(x.shape)
    return repeat_to_batch(fit_size(latent, x), len(x)).to(x)


def inpaint_channels(
    x: Tensor, inpaint: InpaintMask | None, source: SourceLatent | None, family: Family
) -> Tensor:
    """Return the 1 + C extra input channels of an inpainting model: mask, masked image.

    Args:
        x: B×C×h×w; gives size and batch.
        inpaint: of this conditioning; without one, `source` and its noise mask are used.
        source: the latent that is sampled from; without a noise mask all of it is masked.
        family: of the model.
    """
    import torch

    from ..images.compose import repeat_to_batch
    from ..images.resize import resize_mask

    if inpaint is None and source is not None and source.noise_mask is not None:
        # Stretched over the latent, as in sampling; an inpaint mask is cropped to its aspect ratio.
        inpaint = InpaintMask(
            resize_mask(source.noise_mask, x.shape[-1], x.shape[-2]), source.samples
        )
    if inpaint is None:
        grey = x.new_tensor(GREY_LATENT)[None, :, None, None].expand_as(x)
        return torch.cat([torch.ones_like(x[:, :1]), grey], dim=1)
    mask, latent = inpaint.mask[:, None], family.to_model(inpaint.latent)
    channels = (fit_size(mask, x).round(), fit_size(latent, x))
    return torch.cat([repeat_to_batch(part, len(x)).to(x) for part in channels], dim=1)


def fit_size(latent: Tensor, x: Tensor) -> Tensor:
    """Return latents in the size of x: bilinear, cropped around the centre to its aspect ratio."""
    from ..images.resize import resize

    if latent.shape[-2:] == x.shape[-2:]:
        return latent
    return resize(latent, x.shape[-1], x.shape[-2], "bilinear", "center")
