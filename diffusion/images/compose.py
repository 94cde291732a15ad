"""Putting images together: blends, pastes, and making batches and channels match."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .resize import resize_image


def repeat_to_batch(samples: Tensor, batch: int) -> Tensor:
    """Repeat along the first axis, or cut it, to exactly `batch`."""
    have = samples.shape[0]
    if have > batch:
        return samples[:batch]
    if have < batch:
        return samples.repeat(-(-batch // have), *[1] * (samples.ndim - 1))[:batch]
    return samples


def same_batch(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the larger batch of the two."""
    batch = max(first.shape[0], second.shape[0])
    return repeat_to_batch(first, batch), repeat_to_batch(second, batch)


def match_channels(target: Tensor, other: Tensor) -> Tensor:
    """`other` with as many channels as `target`; channels that it lacks are 1 (opaque)."""
    lacking = target.shape[-1] - other.shape[-1]
    return pad(other, (0, lacking), value=1.0) if lacking > 0 else other[..., : target.shape[-1]]


def join(first: Tensor, second: Tensor) -> Tensor:
    """One batch of two; the second is fitted to the size of the first, cut to its aspect."""
    channels = max(first, second, key=lambda image: image.shape[-1])
    first, second = match_channels(channels, first), match_channels(channels, second)
    if second.shape[1:3] != first.shape[1:3]:
        second = resize_image(second, first.shape[2], first.shape[1], "bilinear", "center")
    return torch.cat((first, second))


def blend(first: Tensor, second: Tensor, share: float, mode: str) -> Tensor:
    """Mix `share` of a blend of both into the first; the result is cut to 0..1.

    Args:
        second: fitted to the first's size, bicubic, cut to its aspect.
        mode: normal, multiply, screen, overlay, soft_light, or difference (signed, so that what
            is darker than `second` becomes black).

    Source:
        W3C Compositing and Blending Level 1, for overlay (there called hard-light with the
        layers swapped) and soft-light.
    """
    second = match_channels(first, second)
    if second.shape[1:3] != first.shape[1:3]:
        second = resize_image(second, first.shape[2], first.shape[1], "bicubic", "center")
    first, second = same_batch(first, second)
    mixed = first * (1 - share) + _blended(first, second, mode) * share
    return mixed.clamp(0.0, 1.0)


def _blended(first: Tensor, second: Tensor, mode: str) -> Tensor:
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
    raise ValueError(f"no blend mode {mode!r}")


def _soft(image: Tensor) -> Tensor:
    low = ((16 * image - 12) * image + 4) * image
    return torch.where(image <= 0.25, low, image.clamp(min=0.0).sqrt())


def composite(
    target: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, fit: bool = False
) -> Tensor:
    """Paste B×H×W×C `source` on `target` with its corner at pixel (x, y), cut at the edges.

    Where the mask is 0 the target's values are kept to the last bit.

    Args:
        mask: B×H×W over the source, 1 where the source shows; resized bilinearly to its size.
        fit: first stretch the source to the target's size, bilinearly.
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
    place = (slice(None), slice(y, y + source.shape[1]), slice(x, x + source.shape[2]))
    result = target.clone()
    mixed = source * mask + target[place] * (1 - mask)
    result[place] = torch.where(mask == 0, target[place], mixed)
    return result
