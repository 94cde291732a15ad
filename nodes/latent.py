"""Latents: create, resize, blend, paste, repeat and select."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import check_mask, check_same_channels
from .ports import (
    DEFAULT_SIDE_PX,
    BatchSize,
    Crop,
    Latent,
    LatentOffset,
    LatentPixelsOrAuto,
    LatentResize,
    Mask,
    Model,
    ScaleFactor,
    Share,
)

LatentPixels = Annotated[int, Between(16, 16_384, step=8, start=512)]
LatentCount = Annotated[int, Between(1, 64)]
LatentIndex = Annotated[int, Between(-16_384, 16_384)]


@node("EmptyLatentImage", category="model/latent")
def empty_latent_image(
    width: LatentPixels | None = None,
    height: LatentPixels | None = None,
    batch_size: BatchSize = 1,
    model: Model | None = None,
) -> Latent:
    """Create empty latents, for text to image.

    Args:
        width, height: size in pixels, rounded down to multiples of 8; the default is the native
            size of `model`, or 512 without a model.
        batch_size: number of latents.
        model: the model that will sample them; sets the channels and the native size.
    """
    from latentloom.diffusion.latents.latents import make_empty

    family = model.family if model is not None else None
    side = family.native_size if family is not None else DEFAULT_SIDE_PX
    width, height = width or side, height or side
    if family is None:
        return make_empty(width, height, batch_size)
    return make_empty(width, height, batch_size, family.latent_channels, family.name)


@node("SetLatentNoiseMask", category="model/latent")
def set_latent_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Set the noise mask of latents: the region that sampling may change.

    Args:
        samples: latents B×C×h×w.
        mask: masks B×H×W of any size, 1 where sampling changes the latent; values in between
            change it partly.
    """
    check_mask("mask", mask)
    return replace(samples, noise_mask=mask)


@node("LatentUpscale", category="model/latent")
def latent_upscale(
    samples: Latent,
    upscale_method: LatentResize = "nearest-exact",
    width: LatentPixelsOrAuto = 512,
    height: LatentPixelsOrAuto = 512,
    crop: Crop = "disabled",
) -> Latent:
    """Resize latents to a size in pixels.

    Args:
        samples: latents B×C×h×w.
        upscale_method: the resampling filter; bislerp interpolates directions spherically.
        width, height: new size in pixels, at least 64; one 0 keeps the aspect ratio, two keep
            the size.
        crop: center first crops to the new aspect ratio, disabled stretches.
    """
    from latentloom.diffusion.latents.latents import upscale

    return upscale(samples, upscale_method, width, height, crop)


@node("LatentUpscaleBy", category="model/latent")
def latent_upscale_by(
    samples: Latent, upscale_method: LatentResize = "nearest-exact", scale_by: ScaleFactor = 1.5
) -> Latent:
    """Resize latents by a factor.

    Args:
        samples: latents B×C×h×w.
        upscale_method: the resampling filter.
        scale_by: factor for width and height; the new size is rounded to latent cells.
    """
    from latentloom.diffusion.latents.latents import upscale_by

    return upscale_by(samples, upscale_method, scale_by)


@node("LatentBlend", category="experimental")
def latent_blend(samples1: Latent, samples2: Latent, blend_factor: Share = 0.5) -> Latent:
    """Blend two latents linearly.

    Args:
        samples1: latents B×C×h×w; they set the size and the noise mask.
        samples2: latents with as many channels, resized and centre-cropped to that size.
        blend_factor: weight of `samples1`, 0 to 1; 1 returns it, 0 returns `samples2`.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latents import blend

    check_same_channels("samples2", samples1, samples2)
    return blend(samples1, samples2, blend_factor)


@node("LatentComposite", category="model/latent")
def latent_composite(
    samples_to: Latent,
    samples_from: Latent,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    feather: LatentOffset = 0,
) -> Latent:
    """Paste latents on others.

    Args:
        samples_to: the latents B×C×h×w to paste on; they set the size and the noise mask.
        samples_from: the latents to paste, with as many channels; what reaches outside is cropped.
        x, y: position of their top left corner in pixels, rounded down to multiples of 8.
        feather: width in pixels over which edges inside `samples_to` fade in.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latents import CELL_PX, paste

    check_same_channels("samples_from", samples_to, samples_from)
    return paste(samples_to, samples_from, x // CELL_PX, y // CELL_PX, feather // CELL_PX)


@node("RepeatLatentBatch", category="model/latent/batch")
def repeat_latent_batch(samples: Latent, amount: LatentCount = 1) -> Latent:
    """Repeat a batch of latents; each repetition is sampled with different noise.

    Args:
        samples: latents B×C×h×w.
        amount: number of repetitions.
    """
    from latentloom.diffusion.latents.latents import repeat

    return repeat(samples, amount)


@node("LatentFromBatch", category="model/latent/batch")
def latent_from_batch(
    samples: Latent, batch_index: LatentIndex = 0, length: LatentCount = 1
) -> Latent:
    """Select consecutive latents from a batch; they keep their noise in the full batch.

    Args:
        samples: latents B×C×h×w.
        batch_index: index of the first latent, from 0, or from the end if negative; limited to
            the batch.
        length: number of latents; limited to the end of the batch.
    """
    from latentloom.diffusion.latents.latents import select

    return select(samples, batch_index, length)
