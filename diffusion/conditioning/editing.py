"""The input channels of models that edit an image by an instruction. Source: arXiv 2211.09800."""

from __future__ import annotations

import torch
from torch import Tensor

from ..images.compose import repeat_to_batch
from ..images.resize import resize
from .inpaint import InpaintMask


def image_channels(x: Tensor, image: Tensor | None, inpaint: InpaintMask | None) -> Tensor:
    """Return the C extra input channels of an editing model.

    Args:
        x: B×C×h×w; gives size and batch.
        image: B×C×h×w in unscaled VAE space, on which these models are trained.
        inpaint: its latent stands in for a missing image; without both the channels are 0.
    """
    latent = inpaint.latent if image is None and inpaint is not None else image
    if latent is None:
        return torch.zeros_like(x)
    if latent.shape[-2:] != x.shape[-2:]:
        latent = resize(latent, x.shape[-1], x.shape[-2], "bilinear", "center")
    return repeat_to_batch(latent, len(x)).to(x)
