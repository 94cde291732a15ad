"""The latent record, and operations on latents that need no network.

Nothing here changes its arguments. Sizes of latents are in cells of `CELL_PX` pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from ..families.space import LatentSpace
from ..images.compose import match_batches, repeat_to_batch
from ..images.resize import resize

CELL_PX = 8
MIN_SIDE_PX = 64
FRAMES_AXES = 5


@dataclass(frozen=True)
class SamplePass:
    """One run of a sampler.

    Attributes:
        first_sigma: the sigma that it started at.
        model_calls: number of calls of the denoising network.
        seconds: wall-clock time of the run that computed the result.
        captured_calls: number of those calls that were CUDA graphs.
        eager_reason: why none of them could be, on a GPU; None if they could.
    """

    sampler: str
    scheduler: str
    steps: int
    first_sigma: float
    model_calls: int
    seconds: float
    captured_calls: int = 0
    eager_reason: str | None = None

    @property
    def fingerprint(self) -> str:
        """A string of all fields but those on the course of the run, not its result."""
        return repr(replace(self, seconds=0.0, captured_calls=0, eager_reason=None))


@dataclass(frozen=True, eq=False)
class Latent:
    """A batch of latents.

    Attributes:
        samples: B×C×h×w float32 on the CPU, in unscaled VAE space.
        noise_mask: B×H×W in 0..1 at any size, 1 where sampling may change; None is everywhere.
        batch_index: index of the noise that each latent gets; None draws noise for the batch at
            once.
        family: its model family; None for any family with this number of channels.
        passes: the sampler runs that it went through, in order.
        cell_px: width and height in pixels of a cell, of an empty latent whose size a model with
            other cells is to adapt; None leaves the size.
    """

    samples: Tensor
    noise_mask: Tensor | None = None
    batch_index: tuple[int, ...] | None = None
    family: str | None = None
    passes: tuple[SamplePass, ...] = ()
    cell_px: int | None = None

    @property
    def shape(self) -> torch.Size:
        return self.samples.shape


def make_empty(
    width: int, height: int, batch: int = 1, channels: int = 4, family: str | None = None
) -> Latent:
    """Return zeros for an image of `width`×`height` pixels, each rounded down to whole cells."""
    samples = torch.zeros(batch, channels, height // CELL_PX, width // CELL_PX)
    return Latent(samples, family=family, cell_px=CELL_PX)


def fit_space(latent: Latent, space: LatentSpace) -> Latent:
    """Return a latent of a model's space: all zeros take its form, any other must have it.

    Zeros get the channels, an axis of frames if the space has one, and the size that the same
    image has in its cells.

    Raises:
        UnsuitableValueError: it has another form, with values in it.
    """
    samples = latent.samples
    if samples.ndim == space.axes and samples.shape[1] == space.channels:
        is_fitting = latent.cell_px in (None, space.cell_px)
        if is_fitting or bool(samples.any()):
            return latent
    elif bool(samples.any()):
        frames = "frames×" if samples.ndim == FRAMES_AXES else ""
        got = f"{samples.shape[1]} channels ({frames}{samples.shape[-2]}×{samples.shape[-1]} cells)"
        hint = "encode with the VAE of the model that this node samples with"
        raise UnsuitableValueError(f"a latent with {space.describe()}", got, hint)
    factor = (latent.cell_px or space.cell_px) / space.cell_px
    height, width = (max(1, round(side * factor)) for side in samples.shape[-2:])
    frames_axis = (samples.shape[2] if samples.ndim == FRAMES_AXES else 1,)
    shape = (*(frames_axis if space.has_frames else ()), height, width)
    empty = samples.new_zeros(len(samples), space.channels, *shape)
    return replace(latent, samples=empty, cell_px=None)


def merge_frames(samples: Tensor) -> Tensor:
    """Return latents B×C×h×w of latents that may have an axis of frames, one for each frame."""
    return samples if samples.ndim != FRAMES_AXES else samples.transpose(1, 2).flatten(0, 1)


def _resize(samples: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    """Resize latents, frame by frame."""
    flat = resize(merge_frames(samples), width, height, method, crop)
    if samples.ndim != FRAMES_AXES:
        return flat
    return flat.reshape(len(samples), -1, *flat.shape[1:]).transpose(1, 2)


def upscale(latent: Latent, method: str, width: int, height: int, crop: str = "disabled") -> Latent:
    """Resize to a size in pixels, at least 64 a side.

    A width or height of 0 keeps the aspect ratio; if both are 0, the latent is unchanged.
    """
    rows, columns = latent.shape[-2:]
    if width == 0 and height == 0:
        return latent
    if width == 0:
        width = round(columns * max(MIN_SIDE_PX, height) / rows)
    elif height == 0:
        height = round(rows * max(MIN_SIDE_PX, width) / columns)
    width, height = max(MIN_SIDE_PX, width), max(MIN_SIDE_PX, height)
    samples = _resize(latent.samples, width // CELL_PX, height // CELL_PX, method, crop)
    return replace(latent, samples=samples)


def upscale_by(latent: Latent, method: str, factor: float) -> Latent:
    """Resize both sides by a factor, rounded to whole cells, at least one cell."""
    height, width = (max(1, round(side * factor)) for side in latent.shape[-2:])
    return replace(latent, samples=_resize(latent.samples, width, height, method, "disabled"))


def blend(first: Latent, second: Latent, share: float) -> Latent:
    """Mix `share` of the first with the rest of the second, which is resized to the first."""
    other = second.samples
    if other.shape[-2:] != first.shape[-2:]:
        other = _resize(other, first.shape[-1], first.shape[-2], "bicubic", "center")
    samples, other = match_batches(first.samples, other)
    index = first.batch_index if samples.shape[0] == first.shape[0] else None
    return replace(first, samples=samples * share + other * (1 - share), batch_index=index)


def paste(target: Latent, source: Latent, x: int, y: int, feather: int = 0) -> Latent:
    """Paste `source` on `target` with its top left corner at cell (x, y), cropped to the target.

    Args:
        feather: width in cells of the blended edge, on sides that are inside the target.
    """
    height, width = target.shape[-2:]
    if x >= width or y >= height:
        return target
    piece = repeat_to_batch(source.samples, target.shape[0])[..., : height - y, : width - x]
    rows, columns = piece.shape[-2:]
    down = _ramp(rows, feather if y > 0 else 0, feather if y + rows < height else 0)
    across = _ramp(columns, feather if x > 0 else 0, feather if x + columns < width else 0)
    mask = down[:, None] * across
    samples = target.samples.clone()
    below = samples[..., y : y + rows, x : x + columns]
    samples[..., y : y + rows, x : x + columns] = piece * mask + below * (1 - mask)
    return replace(target, samples=samples)


def repeat(latent: Latent, amount: int) -> Latent:
    """Repeat the batch `amount` times; the noise indices of the copies continue the sequence."""
    mask = latent.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = repeat_to_batch(mask, latent.shape[0]).repeat(amount, 1, 1)
    index = latent.batch_index
    if index is not None:
        span = max(index) - min(index) + 1
        index = tuple(draw + copy * span for copy in range(amount) for draw in index)
    samples = latent.samples.repeat(amount, *[1] * (latent.samples.ndim - 1))
    return replace(latent, samples=samples, noise_mask=mask, batch_index=index)


def select(latent: Latent, start: int, length: int) -> Latent:
    """Return part of a batch; every latent keeps the noise that it has in the full batch.

    Args:
        start: index of the first latent; a negative one counts from the end.
    """
    start = start if start >= 0 else max(latent.shape[0] + start, 0)
    start = min(start, latent.shape[0] - 1)
    part = slice(start, min(start + length, latent.shape[0]))
    index = latent.batch_index or tuple(range(latent.shape[0]))
    mask = latent.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = repeat_to_batch(mask, latent.shape[0])[part]
    return replace(
        latent, samples=latent.samples[part].clone(), noise_mask=mask, batch_index=index[part]
    )


def _ramp(length: int, before: int, after: int) -> Tensor:
    """Return ones that rise from 1/before at the start and fall to 1/after at the end."""
    ramp = torch.ones(length)
    for cells, is_end in ((before, False), (after, True)):
        if cells:
            rise = (torch.arange(length, dtype=torch.float32) + 1).div(cells).clamp(max=1.0)
            ramp = ramp * (rise.flip(0) if is_end else rise)
    return ramp
