"""Masks: B×H×W in 0..1. No function modifies its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from ..compatibility import compatibility_mode
from ..errors import UnsuitableValueError
from .compose import match_batches

CHANNELS = ("red", "green", "blue", "alpha")


def from_image(image: Tensor, channel: str) -> Tensor:
    """Return one channel of images B×H×W×C as masks.

    Raises:
        UnsuitableValueError: the image has no such channel.
    """
    index = CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise UnsuitableValueError(f"one of the image's {image.shape[-1]} channels", channel)
    return image[..., index].clone()


def from_color(image: Tensor, color: int) -> Tensor:
    """Return masks that are 1 where images, rounded to 8 bits, have the colour 0xRRGGBB."""
    levels = (image[..., :3].clamp(0.0, 1.0) * 255.0).round().long()
    rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255])
    return (levels == rgb).all(dim=-1).float()


def to_image(mask: Tensor) -> Tensor:
    """Convert masks to greyscale images B×H×W×3."""
    return mask.unsqueeze(-1).repeat(1, 1, 1, 3)


def solid(value: float, width: int, height: int) -> Tensor:
    """Create a mask 1×H×W of one value."""
    return torch.full((1, height, width), value)


def invert(mask: Tensor) -> Tensor:
    """Return 1 - mask."""
    return 1.0 - mask


def threshold(mask: Tensor, value: float) -> Tensor:
    """Return 1 where the mask is above a value, 0 elsewhere."""
    return (mask > value).float()


def crop(mask: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """Crop at the top left corner (x, y); limited to the mask.

    Raises:
        ValueError: the crop lies outside the mask.
    """
    part = mask[:, y : y + height, x : x + width]
    if 0 in part.shape:
        raise ValueError(f"({x}, {y}) lies outside the mask of {mask.shape[2]}×{mask.shape[1]}")
    return part.clone()


def grow(mask: Tensor, pixels: int, tapered: bool = True) -> Tensor:
    """Grow masks by this many pixels; negative numbers shrink them.

    Soft values grow too: each pixel takes the highest (lowest) value within reach. Pixels outside
    the image are ignored.

    Args:
        tapered: grow with a diamond-shaped kernel instead of a square one.
    """
    if pixels < 0:
        return -grow(-mask, -pixels, tapered)
    result, reach = mask.clone(), min(pixels, mask.shape[-2] + mask.shape[-1])
    region = bounding_region(mask, reach)
    part = mask[region]
    if not tapered:
        result[region] = max_filter(max_filter(part, 1, reach, reach), 2, reach, reach)
        return result
    for _ in range(reach):
        grown = _grow_by_one(part)
        if torch.equal(grown, part):
            break
        part = grown
    result[region] = part
    return result


def bounding_region(mask: Tensor, margin: int) -> tuple[slice, slice, slice]:
    """Return the region, with a margin, outside of which all masks have their lowest value."""
    if not mask.numel():
        return slice(None), slice(None), slice(None)
    covered = (mask > mask.min()).any(dim=0)
    spans = []
    for axis in (1, 0):
        indices = covered.any(dim=axis).nonzero().flatten()
        if not len(indices):
            return slice(None), slice(0, 0), slice(0, 0)
        first, last = int(indices[0]), int(indices[-1])
        spans.append(slice(max(0, first - margin), last + 1 + margin))
    return slice(None), spans[0], spans[1]


def _grow_by_one(mask: Tensor) -> Tensor:
    """Return the highest of each value and its four neighbours."""
    grown = mask.clone()
    for axis in (1, 2):
        size = mask.shape[axis] - 1
        for start, neighbour in ((0, 1), (1, 0)):
            target = grown.narrow(axis, start, size)
            torch.maximum(target, mask.narrow(axis, neighbour, size), out=target)
    return grown


def max_filter(planes: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Return the highest value in a window around each element, along one axis.

    The cost is logarithmic in the window: each pass combines two windows into a longer one.

    Args:
        before, after: elements of the window on each side.
    """
    size, length = planes.shape[axis], before + after + 1
    ends = [list(planes.shape), list(planes.shape)]
    ends[0][axis], ends[1][axis] = before, after
    low = [planes.new_full(shape, -torch.inf) for shape in ends]
    planes = torch.cat([low[0], planes, low[1]], dim=axis)
    window = 1
    while window < length:
        step = min(window, length - window)
        rest = planes.shape[axis] - step
        planes = torch.maximum(planes.narrow(axis, 0, rest), planes.narrow(axis, step, rest))
        window += step
    return planes.narrow(axis, 0, size).contiguous()


def feather(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Fade masks out towards their edges, over these widths in pixels.

    Source:
        ComfyUI's FeatherMask. With the rules of 0.3.64 the fades from the right and the bottom
        are one off: they count the first column (row) first, and the last stays.
    """
    height, width = mask.shape[1:]
    shift = int(compatibility_mode() == "0.3.64")
    rows = _ramp(height, top) * _ramp(height, bottom).flip(0).roll(shift)
    columns = _ramp(width, left) * _ramp(width, right).flip(0).roll(shift)
    return mask * rows[:, None] * columns


def _ramp(size: int, width: int) -> Tensor:
    """Return ones that rise from 1/width at the start."""
    width = min(width, size)
    ramp = torch.ones(size)
    ramp[:width] = torch.arange(1, width + 1) / max(1, width)
    return ramp


def combine(target: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """Combine masks with others whose top left corner is at (x, y); cropped to the target.

    Args:
        operation: multiply, add, subtract (clamped to 0..1), or and, or, xor of rounded masks.
    """
    target, source = match_batches(target, source)
    result = target.clone()
    source = source[:, : max(0, target.shape[1] - y), : max(0, target.shape[2] - x)]
    region = (slice(None), slice(y, y + source.shape[1]), slice(x, x + source.shape[2]))
    below = target[region]
    if below.numel():
        result[region] = _combine(below, source, operation)
    return result.clamp(0.0, 1.0)


def _combine(below: Tensor, above: Tensor, operation: str) -> Tensor:
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
    raise ValueError(f"unknown operation {operation!r}")
