"""What models that edit an image by an instruction see of it. Source: arXiv 2211.09800."""

from __future__ import annotations

import torch
from torch import Tensor

from ..images.compose import repeat_to_batch
from ..images.resize import resize
from .inpaint import InpaintMask


def image_channels(x: Tensor, image: Tensor | None, inpaint: InpaintMask | None) -> Tensor:
    """The C channels that an editing model sees beside the noisy latent.

    Args:
        x: B×C×h×w; gives size and batch.
        image: B×C×h×w in unscaled VAE space, which these models are trained on.
        inpaint: where there is no image, that of a hole is seen; without both, zeros.
    """
    seen = inpaint.latent if image is None and inpaint is not None else image
    if seen is None:
        return torch.zeros_like(x)
    if seen.shape[-2:] != x.shape[-2:]:
        seen = resize(seen, x.shape[-1], x.shape[-2], "bilinear", "center")
    return repeat_to_batch(seen, len(x)).to(x)
