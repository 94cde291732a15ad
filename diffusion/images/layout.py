"""Geometry of images B×H×W×C: crop, pad, stitch, rotate and flip."""

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
ROTATIONS = ("none", "90 degrees", "180 degrees", "270 degrees")
GREY = 0.5


def fill_color(width: int, height: int, batch: int, color: int) -> Tensor:
    """Create images of one colour 0xRRGGBB."""
    levels = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255.0
    return levels.repeat(batch, height, width, 1)


def crop(image: Tensor, x: int, y: int, width: int, height: int) -> Tensor:
    """Crop at the top left corner (x, y), which is moved inside; limited to the image."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].clone()


def pad_for_outpainting(
    image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """Return an image padded with grey, and a mask 1×H×W of what to paint.

    Args:
        left, top, right, bottom: padding in pixels.
        feathering: pixels over which the mask falls off quadratically inside the image, along
            padded sides; ignored if an image side is not more than twice as long.
    """
    batch, height, width, channels = image.shape
    padded = torch.full((batch, height + top + bottom, width + left + right, channels), GREY)
    padded[:, top : top + height, left : left + width] = image
    inner = torch.zeros(height, width)
    if 0 < 2 * feathering < min(height, width):
        rows = _distances(height, top > 0, bottom > 0)
        columns = _distances(width, left > 0, right > 0)
        distance = torch.minimum(rows[:, None], columns[None])
        inner = (1 - distance / feathering).clamp(min=0.0) ** 2
    mask = torch.ones(1, *padded.shape[1:3])
    mask[:, top : top + height, left : left + width] = inner
    return padded, mask


def _distances(size: int, before: bool, after: bool) -> Tensor:
    """Return the distance of each line from the padding at the start or end of a side."""
    index = torch.arange(size, dtype=torch.float32)
    distance = torch.full((size,), torch.inf)
    if before:
        distance = torch.minimum(distance, index)
    return torch.minimum(distance, size - index) if after else distance


def fit_and_pad(image: Tensor, width: int, height: int, color: str, method: str) -> Tensor:
    """Resize to fit `width`×`height`, keeping the aspect ratio, and pad with a colour."""
    old_height, old_width = image.shape[1:3]
    scale = min(width / old_width, height / old_height)
    new_width, new_height = max(1, int(old_width * scale)), max(1, int(old_height * scale))
    fitted = resize_image(image, new_width, new_height, method)
    canvas = _canvas(image, width, height, color)
    x, y = (width - new_width) // 2, (height - new_height) // 2
    canvas[:, y : y + new_height, x : x + new_width] = fitted
    return canvas


def stitch(
    first: Tensor, second: Tensor, direction: str, match_size: bool, gap: int, color: str
) -> Tensor:
    """Place two images side by side.

    Args:
        direction: the side for the second image: right, down, left or up.
        match_size: resize the second image to the height (width) of the first; otherwise the
            smaller one is centred on black.
        gap: width of the gap in pixels, rounded up to an even number.
        color: colour of the gap.
    """
    axis = 2 if direction in ("right", "left") else 1
    channels = max(first, second, key=lambda image: image.shape[-1])
    first, second = match_channels(channels, first), match_channels(channels, second)
    batch = max(len(first), len(second))
    first, second = _repeat_last(first, batch), _repeat_last(second, batch)
    if match_size:
        height, width = second.shape[1:3]
        if axis == 2:
            size = (max(1, int(first.shape[1] * width / height)), first.shape[1])
        else:
            size = (first.shape[2], max(1, int(first.shape[2] * height / width)))
        second = resize_image(second, *size, "lanczos")
    length = max(first.shape[3 - axis], second.shape[3 - axis])
    parts = [_center(first, 3 - axis, length), _center(second, 3 - axis, length)]
    if direction in ("left", "up"):
        parts.reverse()
    gap += gap % 2
    if gap:
        size = (gap, length) if axis == 2 else (length, gap)
        parts.insert(1, _canvas(first, *size, color))
    return torch.cat(parts, dim=axis)


def _repeat_last(image: Tensor, batch: int) -> Tensor:
    """Repeat the last image up to this batch size."""
    return torch.cat([image, image[-1:].repeat(batch - len(image), 1, 1, 1)])


def _center(image: Tensor, axis: int, length: int) -> Tensor:
    if image.shape[axis] == length:
        return image
    shape = list(image.shape)
    shape[axis] = length
    canvas, start = torch.zeros(shape), (length - image.shape[axis]) // 2
    canvas.narrow(axis, start, image.shape[axis]).copy_(image)
    return canvas


def _canvas(like: Tensor, width: int, height: int, color: str) -> Tensor:
    """Create opaque images of one colour with the batch and channels of another."""
    channels = like.shape[-1]
    values = [*COLORS[color], 1.0][:channels]
    return torch.tensor(values).repeat(len(like), height, width, 1)


def rotate(image: Tensor, rotation: str) -> Tensor:
    """Rotate clockwise by one of `ROTATIONS`."""
    return image.rot90(ROTATIONS.index(rotation), (2, 1)).contiguous()


def flip(image: Tensor, vertically: bool) -> Tensor:
    """Flip top to bottom, or left to right."""
    return image.flip(1 if vertically else 2)
