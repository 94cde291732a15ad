"""Combining images: blend, paste, and match batches and channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .resize import resize_image


def repeat_to_batch(samples: Tensor, batch: int) -> Tensor:
    """Repeat or truncate the first axis to exactly `batch`."""
    count = samples.shape[0]
    if count > batch:
        return samples[:batch]
    if count < batch:
        return samples.repeat(-(-batch // count), *[1] * (samples.ndim - 1))[:batch]
    return samples


def match_batches(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the smaller of two batches to the size of the larger."""
    batch = max(first.shape[0], second.shape[0])
    return repeat_to_batch(first, batch), repeat_to_batch(second, batch)


def match_channels(target: Tensor, other: Tensor) -> Tensor:
    """Give `other` as many channels as `target`; added channels are 1 (opaque)."""
    missing = target.shape[-1] - other.shape[-1]
    return pad(other, (0, missing), value=1.0) if missing > 0 else other[..., : target.shape[-1]]


def join(first: Tensor, second: Tensor) -> Tensor:
    """Join two batches; the second is resized and centre-cropped to the size of the first."""
    channels = max(first, second, key=lambda image: image.shape[-1])
    first, second = match_channels(channels, first), match_channels(channels, second)
    if second.shape[1:3] != first.shape[1:3]:
        second = resize_image(second, first.shape[2], first.shape[1], "bilinear", "center")
    return torch.cat((first, second))


def blend(first: Tensor, second: Tensor, opacity: float, mode: str) -> Tensor:
    """Blend the second image over the first; values are clamped to 0..1.

    Args:
        second: resized (bicubic) and centre-cropped to the first's size.
        opacity: 0 returns the first image, 1 the blend of both.
        mode: normal, multiply, screen, overlay, soft_light, or difference (first - second).

    Source:
        W3C Compositing and Blending Level 1, for overlay (there called hard-light with the
        layers swapped) and soft-light.
    """
    second = match_channels(first, second)
    if second.shape[1:3] != first.shape[1:3]:
        second = resize_image(second, first.shape[2], first.shape[1], "bicubic", "center")
    first, second = match_batches(first, second)
    mixed = first * (1 - opacity) + _blend(first, second, mode) * opacity
    return mixed.clamp(0.0, 1.0)


def _blend(first: Tensor, second: Tensor, mode: str) -> Tensor:
    match mode:
        case "normal":
            return second
        case "multiply":
            return first * second
        case "screen":
            return 1 - (1 - first) * (1 - second)
        case "overlay":
            screened = 1 - 2 * (1 - first) * (1 - second)
            return torch.where(first <= 0.5, 2 * first * second, screened)
        case "soft_light":
            darker = first - (1 - 2 * second) * first * (1 - first)
            lighter = first + (2 * second - 1) * (_soft(first) - first)
            return torch.where(second <= 0.5, darker, lighter)
        case "difference":
            return first - second
    raise ValueError(f"unknown blend mode {mode!r}")


def _soft(image: Tensor) -> Tensor:
    low = ((16 * image - 12) * image + 4) * image
    return torch.where(image <= 0.25, low, image.clamp(min=0.0).sqrt())


def composite(
    target: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, fit: bool = False
) -> Tensor:
    """Paste `source` on `target` with its top left corner at pixel (x, y), cropped at the edges.

    Where the mask is 0, the target's values do not change.

    Args:
        target, source: images B×H×W×C.
        mask: opacity of the source, B×H×W, resized to it (bilinear); None is 1 everywhere.
        fit: first resize the source to the target's size (bilinear).
    """
    source = match_channels(target, source)
    height, width = target.shape[1:3]
    if fit:
        source = resize_image(source, width, height)
    source = repeat_to_batch(source, target.shape[0])
    if mask is None:
        mask = torch.ones(source.shape[:3])
    mask = interpolate(mask.unsqueeze(1), size=source.shape[1:3], mode="bilinear").movedim(1, -1)
    mask = repeat_to_batch(mask, target.shape[0])
    rows, columns = max(0, height - y), max(0, width - x)
    source, mask = source[:, :rows, :columns], mask[:, :rows, :columns]
    region = (slice(None), slice(y, y + source.shape[1]), slice(x, x + source.shape[2]))
    result = target.clone()
    mixed = source * mask + target[region] * (1 - mask)
    result[region] = torch.where(mask == 0, target[region], mixed)
    return result
