"""Masks: B×H×W in 0..1, 1 where something may change."""

from __future__ import annotations

from torch import Tensor

CHANNELS = ("red", "green", "blue", "alpha")


def from_picture(picture: Tensor, channel: str) -> Tensor:
    """One channel of a B×H×W×C picture.

    Raises:
        ValueError: the picture has no such channel.
    """
    index = CHANNELS.index(channel)
    if index >= picture.shape[-1]:
        raise ValueError(f"a picture of {picture.shape[-1]} channels has no {channel}")
    return picture[..., index].clone()


def to_picture(mask: Tensor) -> Tensor:
    """A grey B×H×W×3 picture of a mask."""
    return mask.unsqueeze(-1).repeat(1, 1, 1, 3)


def invert(mask: Tensor) -> Tensor:
    """1 - mask."""
    return 1.0 - mask
