"""Masks: B×H×W in 0..1, 1 where something may change. Nothing here changes its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from .compose import same_batch

CHANNELS = ("red", "green", "blue", "alpha")


def from_image(image: Tensor, channel: str) -> Tensor:
    """One channel of a B×H×W×C image.

    Raises:
        UnsuitableValueError: the image has no such channel.
    """
    index = CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise UnsuitableValueError(f"one of the image's {image.shape[-1]} channels", channel)
    return image[..., index].clone()


def from_color(image: Tensor, color: int) -> Tensor:
    """1 where an image, rounded to 8 bits, has the colour 0xRRGGBB."""
    levels = (image[..., :3].clamp(0.0, 1.0) * 255.0).round().long()
    expected = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255])
    return (levels == expected).all(dim=-1).float()


def to_image(mask: Tensor) -> Tensor:
    """A grey B×H×W×3 image of a mask."""
    return mask.unsqueeze(-1).repeat(1, 1, 1, 3)


def solid(value: float, width: int, height: int) -> Tensor:
    """A 1×H×W mask of one value."""
    return torch.full((1, height, width), value)


def invert(mask: Tensor) -> Tensor:
    """1 - mask."""
    return 1.0 - mask


def threshold(mask: Tensor, value: float) -> Tensor:
    """1 where the mask is more than a value, 0 elsewhere."""
    return (mask > value).float()


def crop(mask: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """The part with its top left corner at (x, y), cut to what is there.

    Raises:
        ValueError: nothing is there.
    """
    part = mask[:, y : y + height, x : x + width]
    if 0 in part.shape:
        raise ValueError(f"({x}, {y}) lies outside a mask of {mask.shape[2]}×{mask.shape[1]}")
    return part.clone()


def grow(mask: Tensor, pixels: int, tapered: bool = True) -> Tensor:
    """Grow what a mask covers by this many pixels; negative numbers shrink it.

    Grey values grow too: each pixel takes the highest (lowest) value within reach. The world
    beyond the edge counts as nothing, neither covered nor free.

    Args:
        tapered: reach is counted along rows and columns (a diamond), not diagonally (a square).
    """
    if pixels < 0:
        return -grow(-mask, -pixels, tapered)
    result, reach = mask.clone(), min(pixels, mask.shape[-2] + mask.shape[-1])
    place = around(mask, reach)
    part = mask[place]
    if not tapered:
        result[place] = highest(highest(part, 1, reach, reach), 2, reach, reach)
        return result
    for _ in range(reach):
        wider = _one_wider(part)
        if torch.equal(wider, part):
            break
        part = wider
    result[place] = part
    return result


def around(mask: Tensor, reach: int) -> tuple[slice, slice, slice]:
    """The part of a batch of masks beyond which all have their lowest value, so far and wider."""
    if not mask.numel():
        return slice(None), slice(None), slice(None)
    covered = (mask > mask.min()).any(dim=0)
    spans = []
    for axis in (1, 0):
        places = covered.any(dim=axis).nonzero().flatten()
        if not len(places):
            return slice(None), slice(0, 0), slice(0, 0)
        first, last = int(places[0]), int(places[-1])
        spans.append(slice(max(0, first - reach), last + 1 + reach))
    return slice(None), spans[0], spans[1]


def _one_wider(mask: Tensor) -> Tensor:
    """The highest of each value and its four neighbours."""
    wider = mask.clone()
    for axis in (1, 2):
        size = mask.shape[axis] - 1
        for here, there in ((0, 1), (1, 0)):
            to = wider.narrow(axis, here, size)
            torch.maximum(to, mask.narrow(axis, there, size), out=to)
    return wider


def highest(planes: Tensor, axis: int, before: int, after: int) -> Tensor:
    """The highest value from `before` places before each to `after` after it, along one axis.

    Windows of twice the length are made of two, so that wide ones are hardly dearer.
    """
    size, length = planes.shape[axis], before + after + 1
    ends = [list(planes.shape), list(planes.shape)]
    ends[0][axis], ends[1][axis] = before, after
    low = [planes.new_full(shape, -torch.inf) for shape in ends]
    planes = torch.cat([low[0], planes, low[1]], dim=axis)
    have = 1
    while have < length:
        step = min(have, length - have)
        rest = planes.shape[axis] - step
        planes = torch.maximum(planes.narrow(axis, 0, rest), planes.narrow(axis, step, rest))
        have += step
    return planes.narrow(axis, 0, size).contiguous()


def feather(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Fade a mask out towards its edges, over these widths in pixels.

    Source:
        ComfyUI's FeatherMask, with its quirk: counted from the right (bottom) the first line is
        the first column (row), which is scaled by 1/right (1/bottom); the last one stays.
    """
    height, width = mask.shape[1:]
    rows = _ramp(height, top) * _ramp(height, bottom, from_end=True)
    columns = _ramp(width, left) * _ramp(width, right, from_end=True)
    return mask * rows[:, None] * columns


def _ramp(size: int, width: int, from_end: bool = False) -> Tensor:
    """Ones, rising from 1/width over the first places; from the end they count 0, -1, -2, ..."""
    width = min(width, size)
    steps = torch.arange(width)
    ramp = torch.ones(size)
    ramp[-steps % size if from_end else steps] = (steps + 1) / max(1, width)
    return ramp


def combine(target: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """Combine a mask with another whose top left corner comes at (x, y); what is outside is cut.

    Args:
        operation: multiply, add, subtract (cut to 0..1), or and, or, xor of rounded masks.
    """
    target, source = same_batch(target, source)
    result = target.clone()
    source = source[:, : max(0, target.shape[1] - y), : max(0, target.shape[2] - x)]
    place = (slice(None), slice(y, y + source.shape[1]), slice(x, x + source.shape[2]))
    below = target[place]
    if below.numel():
        result[place] = _combined(below, source, operation)
    return result.clamp(0.0, 1.0)


def _combined(below: Tensor, above: Tensor, operation: str) -> Tensor:
    match operation:
        case "multiply":
            return below * above
        case "add":
            return below + above
        case "subtract":
            return below - above
        case "and":
            return (below.round().bool() & above.round().bool()).float()
        case "or":
            return (below.round().bool() | above.round().bool()).float()
        case "xor":
            return (below.round().bool() ^ above.round().bool()).float()
    raise ValueError(f"no operation {operation!r}")
