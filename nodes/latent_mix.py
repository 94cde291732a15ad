"""Latents: arithmetic, batches, geometry and masked pastes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_same_channels
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

Axis = Literal["x", "y", "t"]
JoinedSide = Literal["x", "-x", "y", "-y", "t", "-t"]
CutIndex = Annotated[int, Between(-16_384, 16_384)]
CutLength = Annotated[int, Between(1, 16_384)]
ADVANCED, TRANSFORM = "model/latent/advanced", "model/latent/transform"


@node("LatentAdd", category=ADVANCED)
def latent_add(samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents.

    Args:
        samples1: latents B×C×h×w; they set size, batch and noise mask.
        samples2: latents with as many channels; resized, centre-cropped and repeated to fit.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latent_mix import add

    check_same_channels("samples2", samples1, samples2)
    return add(samples1, samples2)


@node("LatentSubtract", category=ADVANCED)
def latent_subtract(samples1: Latent, samples2: Latent) -> Latent:
    """Subtract `samples2` from `samples1`.

    Args:
        samples1: latents B×C×h×w; they set size, batch and noise mask.
        samples2: latents with as many channels; resized, centre-cropped and repeated to fit.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latent_mix import subtract

    check_same_channels("samples2", samples1, samples2)
    return subtract(samples1, samples2)


@node("LatentMultiply", category=ADVANCED)
def latent_multiply(samples: Latent, multiplier: Multiplier = 1.0) -> Latent:
    """Multiply latents by a number.

    Args:
        samples: latents B×C×h×w.
        multiplier: the factor, -10 to 10.
    """
    from latentloom.diffusion.latents.latent_mix import multiply

    return multiply(samples, multiplier)


@node("LatentInterpolate", category=ADVANCED)
def latent_interpolate(samples1: Latent, samples2: Latent, ratio: Share = 1.0) -> Latent:
    """Interpolate two latents: direction and length of each latent cell's vector separately.

    Args:
        samples1: latents B×C×h×w; they set size, batch and noise mask.
        samples2: latents with as many channels; resized, centre-cropped and repeated to fit.
        ratio: weight of `samples1`, 0 to 1.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latent_mix import interpolate

    check_same_channels("samples2", samples1, samples2)
    return interpolate(samples1, samples2, ratio)


@node("LatentBatch", category="model/latent/batch")
def latent_batch(samples1: Latent, samples2: Latent) -> Latent:
    """Join two batches of latents; each latent keeps the noise that it has in its own batch.

    Args:
        samples1: latents B×C×h×w; they set the size and the noise mask.
        samples2: latents with as many channels, resized and centre-cropped to that size.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latent_mix import join

    check_same_channels("samples2", samples1, samples2)
    return join(samples1, samples2)


@node("RebatchLatents", category="model/latent/batch")
def rebatch_latents(latents: list[Latent], batch_size: BatchSize = 1) -> list[Latent]:
    """Regroup latents into batches of another size; the nodes that follow run once per batch.

    Each latent keeps the noise of its position.

    Args:
        latents: batches B×C×h×w; a new batch starts where the latent size changes.
        batch_size: largest number of latents per batch.
    """
    from latentloom.diffusion.latents.rebatch import rebatch_latents

    return rebatch_latents(latents, batch_size)


@node("LatentBatchSeedBehavior", category=ADVANCED)
def latent_batch_seed_behavior(
    samples: Latent, seed_behavior: Literal["random", "fixed"] = "fixed"
) -> Latent:
    """Choose whether the latents of a batch get different noise or the same.

    Args:
        samples: latents B×C×h×w.
        seed_behavior: random draws noise for each latent, fixed gives all the same noise.
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
    """Crop latents.

    Args:
        samples: latents B×C×h×w.
        width, height: size of the crop in pixels; limited to the latent.
        x, y: its top left corner in pixels, at least 64 pixels before the far edges.
    """
    from latentloom.diffusion.latents.latent_mix import crop

    return crop(samples, width, height, x, y)


@node("LatentCut", category=ADVANCED)
def latent_cut(
    samples: Latent, dim: Axis = "x", index: CutIndex = 0, amount: CutLength = 1
) -> Latent:
    """Cut a strip out of latents.

    Args:
        samples: latents B×C×h×w.
        dim: the axis: x is the width, y the height, t the batch's frames.
        index: of the first cell, from 0, or from the end if negative; limited to the latent.
        amount: number of cells, limited to the latent.

    Raises:
        InputError: the latents have no such axis.
    """
    from latentloom.diffusion.latents.latent_mix import cut

    with as_input_error("dim"):
        return cut(samples, dim, index, amount)


@node("LatentConcat", category=ADVANCED)
def latent_concat(samples1: Latent, samples2: Latent, dim: JoinedSide = "x") -> Latent:
    """Join latents side by side.

    Args:
        samples1: the first latents B×C×h×w.
        samples2: the second latents, of the same size but along the axis; repeated to the batch.
        dim: the axis; with a minus the second latents come first.

    Raises:
        InputError: the latents have no such axis, or sizes that do not fit.
    """
    from latentloom.diffusion.latents.latent_mix import concatenate

    check_same_channels("samples2", samples1, samples2)
    first, second = (samples2, samples1) if dim.startswith("-") else (samples1, samples2)
    with as_input_error("samples2"):
        return concatenate(samples1, first, second, dim[-1])


@node("LatentFlip", category=TRANSFORM)
def latent_flip(samples: Latent, flip_method: FlipMethod) -> Latent:
    """Flip latents.

    Args:
        samples: latents B×C×h×w.
        flip_method: x-axis swaps top and bottom, y-axis swaps left and right.
    """
    from latentloom.diffusion.latents.latent_mix import flip

    return flip(samples, flip_method.startswith("x"))


@node("LatentRotate", category=TRANSFORM)
def latent_rotate(samples: Latent, rotation: Rotation) -> Latent:
    """Rotate latents clockwise.

    Args:
        samples: latents B×C×h×w.
        rotation: the angle.
    """
    from latentloom.diffusion.latents.latent_mix import rotate

    turns: dict[str, int] = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}
    return rotate(samples, turns[rotation])


@node("LatentCompositeMasked", category="model/latent")
def latent_composite_masked(
    destination: Latent,
    source: Latent,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Paste latents on others through a mask.

    Args:
        destination: the latents B×C×h×w to paste on; they set the size and the noise mask.
        source: the latents to paste, with as many channels; what reaches outside is cropped.
        x, y: position of their top left corner in pixels, rounded down to multiples of 8.
        resize_source: first resize `source` to the size of `destination`.
        mask: opacity of the source, B×H×W, resized to it; 1 everywhere if not given.

    Raises:
        InputError: the numbers of channels differ.
    """
    from latentloom.diffusion.latents.latent_mix import paste_masked

    check_same_channels("source", destination, source)
    return paste_masked(destination, source, x, y, mask, resize_source)
