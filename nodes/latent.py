"""Latents: made, resized, mixed, repeated and picked."""

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
LatentIndex = Annotated[int, Between(0, 63)]


@node("EmptyLatentImage", category="latent")
def empty_latent_image(
    width: LatentPixels | None = None,
    height: LatentPixels | None = None,
    batch_size: BatchSize = 1,
    model: Model | None = None,
) -> Latent:
    """An empty batch of latents, to sample from nothing.

    Args:
        width, height: size in pixels, cut to multiples of 8; left out, it is the native size of
            `model`, or 512 without one.
        batch_size: how many.
        model: the model that will sample it; gives the channels and the native size.
    """
    from latentloom.diffusion.latents.latents import make_empty

    family = model.family if model is not None else None
    side = family.native_size if family is not None else DEFAULT_SIDE_PX
    width, height = width or side, height or side
    if family is None:
        return make_empty(width, height, batch_size)
    return make_empty(width, height, batch_size, family.latent_channels, family.name)


@node("SetLatentNoiseMask", category="latent/inpaint")
def set_latent_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Say where sampling may change latents.

    Args:
        samples: latents B×C×h×w.
        mask: masks B×H×W of any size, 1 where sampling may change; soft masks change partly.
    """
    check_mask("mask", mask)
    return replace(samples, noise_mask=mask)


@node("LatentUpscale", category="latent")
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
        upscale_method: how cells are read; bislerp turns their directions instead of mixing them.
        width, height: new size in pixels, at least 64; 0 keeps the aspect, two zeros the size.
        crop: center first cuts the longer side to the new aspect, disabled stretches.
    """
    from latentloom.diffusion.latents.latents import upscale

    return upscale(samples, upscale_method, width, height, crop)


@node("LatentUpscaleBy", category="latent")
def latent_upscale_by(
    samples: Latent, upscale_method: LatentResize = "nearest-exact", scale_by: ScaleFactor = 1.5
) -> Latent:
    """Resize both sides of latents by one factor.

    Args:
        samples: latents B×C×h×w.
        upscale_method: how cells are read.
        scale_by: factor for both sides; the new size is rounded to whole cells.
    """
    from latentloom.diffusion.latents.latents import upscale_by

    return upscale_by(samples, upscale_method, scale_by)


@node("LatentBlend", category="_for_testing")
def latent_blend(samples1: Latent, samples2: Latent, blend_factor: Share = 0.5) -> Latent:
    """Mix two latents linearly.

    Args:
        samples1: latents B×C×h×w; their size and mask are those of the result.
        samples2: latents of as many channels, resized and centre-cropped to that size.
        blend_factor: share of `samples1`; 1 gives it, 0 gives `samples2`.

    Raises:
        InputError: they differ in channels.
    """
    from latentloom.diffusion.latents.latents import blend

    check_same_channels("samples2", samples1, samples2)
    return blend(samples1, samples2, blend_factor)


@node("LatentComposite", category="latent")
def latent_composite(
    samples_to: Latent,
    samples_from: Latent,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    feather: LatentOffset = 0,
) -> Latent:
    """Paste latents on others.

    Args:
        samples_to: latents B×C×h×w below; their size and mask are those of the result.
        samples_from: latents of as many channels; what reaches outside is cut.
        x, y: where their top left corner comes, in pixels, cut to multiples of 8.
        feather: width in pixels over which edges inside `samples_to` fade in.

    Raises:
        InputError: they differ in channels.
    """
    from latentloom.diffusion.latents.latents import CELL_PX, paste

    check_same_channels("samples_from", samples_to, samples_from)
    return paste(samples_to, samples_from, x // CELL_PX, y // CELL_PX, feather // CELL_PX)


@node("RepeatLatentBatch", category="latent/batch")
def repeat_latent_batch(samples: Latent, amount: LatentCount = 1) -> Latent:
    """Repeat a batch of latents; each repetition gets other noise.

    Args:
        samples: latents B×C×h×w.
        amount: how many times.
    """
    from latentloom.diffusion.latents.latents import repeat

    return repeat(samples, amount)


@node("LatentFromBatch", category="latent/batch")
def latent_from_batch(
    samples: Latent, batch_index: LatentIndex = 0, length: LatentCount = 1
) -> Latent:
    """Take some latents out of a batch; each keeps the noise that it has in the whole batch.

    Args:
        samples: latents B×C×h×w.
        batch_index: the first, from 0; past the end it is the last.
        length: how many, cut to what is there.
    """
    from latentloom.diffusion.latents.latents import select

    return select(samples, batch_index, length)
