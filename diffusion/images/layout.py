"""Where images lie: cut, padded, put side by side, turned. B×H×W×C in 0..1."""

from __future__ import annotations

import torch
from torch import Tensor

from .compose import match_channels
from .resize import resize_image

COLORS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
}
TURNS = ("none", "90 degrees", "180 degrees", "270 degrees")
GREY = 0.5


def plain(width: int, height: int, batch: int, color: int) -> Tensor:
    """Images of one colour 0xRRGGBB."""
    levels = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255.0
    return levels.repeat(batch, height, width, 1)


def crop(image: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """The part with its top left corner at (x, y), both kept inside, cut to what is there."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].clone()


def pad_to_paint(
    image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """An image with grey margins, and the 1×H×W mask of what is to be painted.

    Args:
        left, top, right, bottom: widths of the margins in pixels.
        feathering: pixels over which the mask falls off inside the image, quadratically, along
            sides that have a margin; none if the image is not more than twice as large.
    """
    batch, height, width, channels = image.shape
    padded = torch.full((batch, height + top + bottom, width + left + right, channels), GREY)
    padded[:, top : top + height, left : left + width] = image
    inner = torch.zeros(height, width)
    if 0 < 2 * feathering < min(height, width):
        rows = _distance(height, top > 0, bottom > 0)
        columns = _distance(width, left > 0, right > 0)
        away = torch.minimum(rows[:, None], columns[None])
        inner = (1 - away / feathering).clamp(min=0.0) ** 2
    mask = torch.ones(1, *padded.shape[1:3])
    mask[:, top : top + height, left : left + width] = inner
    return padded, mask


def _distance(size: int, before: bool, after: bool) -> Tensor:
    """How far each line of a side is from a margin at its start or end."""
    place = torch.arange(size, dtype=torch.float32)
    away = torch.full((size,), torch.inf)
    if before:
        away = torch.minimum(away, place)
    return torch.minimum(away, size - place) if after else away


def fit_and_pad(image: Tensor, width: int, height: int, color: str, method: str) -> Tensor:
    """Resize into `width`×`height` in the image's aspect, in the middle of a plain ground."""
    old_height, old_width = image.shape[1:3]
    scale = min(width / old_width, height / old_height)
    new_wide, new_high = max(1, int(old_width * scale)), max(1, int(old_height * scale))
    fitted = resize_image(image, new_wide, new_high, method)
    ground = _ground(image, width, height, color)
    x, y = (width - new_wide) // 2, (height - new_high) // 2
    ground[:, y : y + new_high, x : x + new_wide] = fitted
    return ground


def stitch(
    first: Tensor, second: Tensor, direction: str, match_size: bool, gap: int, color: str
) -> Tensor:
    """Two images side by side.

    Args:
        direction: where the second goes: right, down, left or up.
        match_size: resize the second so that the sides that meet are equally long; otherwise the
            shorter one is centred on black.
        gap: width of a stripe between them, rounded up to an even number of pixels.
        color: of the stripe.
    """
    axis = 2 if direction in ("right", "left") else 1
    channels = max(first, second, key=lambda image: image.shape[-1])
    first, second = match_channels(channels, first), match_channels(channels, second)
    batch = max(len(first), len(second))
    first, second = _fill(first, batch), _fill(second, batch)
    if match_size:
        height, width = second.shape[1:3]
        if axis == 2:
            size = (max(1, int(first.shape[1] * width / height)), first.shape[1])
        else:
            size = (first.shape[2], max(1, int(first.shape[2] * height / width)))
        second = resize_image(second, *size, "lanczos")
    length = max(first.shape[3 - axis], second.shape[3 - axis])
    parts = [_centred(first, 3 - axis, length), _centred(second, 3 - axis, length)]
    if direction in ("left", "up"):
        parts.reverse()
    gap += gap % 2
    if gap:
        size = (gap, length) if axis == 2 else (length, gap)
        parts.insert(1, _ground(first, *size, color))
    return torch.cat(parts, dim=axis)


def _fill(image: Tensor, batch: int) -> Tensor:
    """Repeat the last image up to this batch."""
    return torch.cat([image, image[-1:].repeat(batch - len(image), 1, 1, 1)])


def _centred(image: Tensor, axis: int, length: int) -> Tensor:
    if image.shape[axis] == length:
        return image
    shape = list(image.shape)
    shape[axis] = length
    ground, start = torch.zeros(shape), (length - image.shape[axis]) // 2
    ground.narrow(axis, start, image.shape[axis]).copy_(image)
    return ground


def _ground(like: Tensor, width: int, height: int, color: str) -> Tensor:
    """A plain image with the batch and channels of another; opaque."""
    channels = like.shape[-1]
    values = [*COLORS[color], 1.0][:channels]
    return torch.tensor(values).repeat(len(like), height, width, 1)


def turn(image: Tensor, rotation: str) -> Tensor:
    """Turned clockwise by one of `TURNS`."""
    return image.rot90(TURNS.index(rotation), (2, 1)).contiguous()


def flip(image: Tensor, vertically: bool) -> Tensor:
    """Mirrored: upside down, or left to right."""
    return image.flip(1 if vertically else 2)
