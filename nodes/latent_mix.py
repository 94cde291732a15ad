"""Latents added, interpolated, joined, turned and cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from latentloom.engine.node.spec import node

from .checks import check_same_channels
from .ports import (
    BatchSize,
    FlipMethod,
    Latent,
    LatentOffset,
    Mask,
    Multiplier,
    Rotation,
    Share,
    WindowSide,
)

ADVANCED, TRANSFORM = "latent/advanced", "latent/transform"


@node("LatentAdd", category=ADVANCED)
def latent_add(samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents.

    Args:
        samples1: latents B×C×h×w; their size, batch and mask are those of the result.
        samples2: latents of as many channels, resized, centre-cropped and repeated to fit.
    """
    from latentloom.diffusion.latents.latent_mix import add

    check_same_channels("samples2", samples1, samples2)
    return add(samples1, samples2)


@node("LatentSubtract", category=ADVANCED)
def latent_subtract(samples1: Latent, samples2: Latent) -> Latent:
    """Subtract latents from others.

    Args:
        samples1: latents B×C×h×w; their size, batch and mask are those of the result.
        samples2: latents of as many channels, resized, centre-cropped and repeated to fit.
    """
    from latentloom.diffusion.latents.latent_mix import subtract

    check_same_channels("samples2", samples1, samples2)
    return subtract(samples1, samples2)


@node("LatentMultiply", category=ADVANCED)
def latent_multiply(samples: Latent, multiplier: Multiplier = 1.0) -> Latent:
    """Multiply latents by a number.

    Args:
        samples: latents B×C×h×w.
        multiplier: what each number is multiplied with.
    """
    from latentloom.diffusion.latents.latent_mix import multiply

    return multiply(samples, multiplier)


@node("LatentInterpolate", category=ADVANCED)
def latent_interpolate(samples1: Latent, samples2: Latent, ratio: Share = 1.0) -> Latent:
    """Mix the directions of two latents, and their lengths, cell by cell.

    Args:
        samples1: latents B×C×h×w; their size, batch and mask are those of the result.
        samples2: latents of as many channels, resized, centre-cropped and repeated to fit.
        ratio: share of `samples1`.
    """
    from latentloom.diffusion.latents.latent_mix import interpolate

    check_same_channels("samples2", samples1, samples2)
    return interpolate(samples1, samples2, ratio)


@node("LatentBatch", category="latent/batch")
def latent_batch(samples1: Latent, samples2: Latent) -> Latent:
    """One batch of two; each latent has the noise that it would have in its own.

    Args:
        samples1: latents B×C×h×w; their size and mask are those of the result.
        samples2: latents of as many channels, resized and centre-cropped to that size.
    """
    from latentloom.diffusion.latents.latent_mix import join

    check_same_channels("samples2", samples1, samples2)
    return join(samples1, samples2)


@node("RebatchLatents", category="latent/batch")
def rebatch_latents(latents: list[Latent], batch_size: BatchSize = 1) -> list[Latent]:
    """Put batches of latents together and cut them anew; what follows runs once for each.

    Args:
        latents: batches B×C×h×w; a new batch begins where the size changes.
        batch_size: how many a batch has at most. Each latent keeps the noise of its place.
    """
    from latentloom.diffusion.latents.rebatch import rebatch_latents

    return rebatch_latents(latents, batch_size)


@node("LatentBatchSeedBehavior", category=ADVANCED)
def latent_batch_seed_behavior(
    samples: Latent, seed_behavior: Literal["random", "fixed"] = "fixed"
) -> Latent:
    """Say whether each latent of a batch has noise of its own, or all that of the first.

    Args:
        samples: latents B×C×h×w.
        seed_behavior: random draws noise for the whole batch, fixed one for all.
    """
    from latentloom.diffusion.latents.latent_mix import with_one_noise

    return (
        with_one_noise(samples) if seed_behavior == "fixed" else replace(samples, batch_index=None)
    )


@node("LatentCrop", category=TRANSFORM)
def latent_crop(
    samples: Latent,
    width: WindowSide = 512,
    height: WindowSide = 512,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
) -> Latent:
    """Cut a window out of latents.

    Args:
        samples: latents B×C×h×w.
        width, height: of the window in pixels; what reaches outside is cut.
        x, y: where its top left corner is, in pixels, at least 64 before the far edges.
    """
    from latentloom.diffusion.latents.latent_mix import crop

    return crop(samples, width, height, x, y)


@node("LatentFlip", category=TRANSFORM)
def latent_flip(samples: Latent, flip_method: FlipMethod) -> Latent:
    """Turn latents upside down, or mirror them.

    Args:
        samples: latents B×C×h×w.
        flip_method: about the x axis, or about the y axis.
    """
    from latentloom.diffusion.latents.latent_mix import flip

    return flip(samples, flip_method.startswith("x"))


@node("LatentRotate", category=TRANSFORM)
def latent_rotate(samples: Latent, rotation: Rotation) -> Latent:
    """Turn latents clockwise.

    Args:
        samples: latents B×C×h×w.
        rotation: by how much.
    """
    from latentloom.diffusion.latents.latent_mix import rotate

    turns: dict[str, int] = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}
    return rotate(samples, turns[rotation])


@node("LatentCompositeMasked", category="latent")
def latent_composite_masked(
    destination: Latent,
    source: Latent,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Paste latents on others, where a mask shows them.

    Args:
        destination: latents B×C×h×w below; their size and mask are those of the result.
        source: latents of as many channels; what reaches outside is cut.
        x, y: where their top left corner comes, in pixels, cut to multiples of 8.
        resize_source: first stretch `source` to the size of `destination`.
        mask: masks B×H×W over the source, 1 where it shows.

    Raises:
        InputError: they differ in channels.
    """
    from latentloom.diffusion.latents.latent_mix import paste_masked

    check_same_channels("source", destination, source)
    return paste_masked(destination, source, x, y, mask, resize_source)
