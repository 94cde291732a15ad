"""Images with alpha: joined, split, and composed by the rules of Porter and Duff.

Masks beside images say what is transparent: alpha is 1 - mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .compose import repeat_to_batch, same_batch
from .resize import resize_image, resize_mask

# Below this alpha a colour cannot be told; it becomes black.
CLEAR = 1e-5
# Share of a level of 255.
HAIR = 1e-3


class Layer(NamedTuple):
    """Colours times alpha, and alpha, B×H×W×3 and B×H×W×1."""

    color: Tensor
    alpha: Tensor


def join_alpha(image: Tensor, mask: Tensor) -> Tensor:
    """RGBA of an image and of what is transparent in it; the mask is resized to the image.

    Alpha that came from 8 bits and through a mask is the same 8 bits again.
    """
    alpha = _whole(1.0 - resize_mask(mask, image.shape[2], image.shape[1]))
    image, alpha = same_batch(image[..., :3], alpha)
    return torch.cat([image, alpha.unsqueeze(-1)], dim=-1)


def _whole(alpha: Tensor) -> Tensor:
    """Levels of 255 that rounding moved by a hair, which saving would cut to the one below."""
    level = (alpha * 255).round()
    return torch.where((alpha * 255 - level).abs() < HAIR, level / 255, alpha)


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor]:
    """RGB, and the mask of what is transparent; nothing is where there is no alpha."""
    if image.shape[-1] < 4:
        return image[..., :3].clone(), torch.zeros(image.shape[:3])
    return image[..., :3].clone(), 1.0 - image[..., 3]


def compose(
    source: Tensor, source_mask: Tensor, target: Tensor, target_mask: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """The source over, in, out of, ... the target; both masks are 1 where it is transparent.

    Args:
        source: fitted to the target's size, cut to its aspect; masks are stretched.
        mode: a key of `MODES`.

    Returns:
        Colours (not multiplied with alpha) in 0..1 and the mask of what is transparent.

    Source:
        Porter and Duff, "Compositing digital images" (SIGGRAPH 1984); the blends as Android's
        PorterDuff.Mode documents them.
    """
    height, width = target.shape[1:3]
    if source.shape[1:3] != target.shape[1:3]:
        source = resize_image(source, width, height, "bicubic", "center")
    batch = max(len(source), len(target))
    above, below = (
        _layer(repeat_to_batch(image, batch), mask)
        for image, mask in ((source, source_mask), (target, target_mask))
    )
    color, alpha = MODES[mode](above, below)
    shown = torch.where(alpha > CLEAR, color / alpha.clamp(min=CLEAR), torch.zeros_like(color))
    return shown.clamp(0.0, 1.0), 1.0 - alpha.squeeze(-1).clamp(0.0, 1.0)


def _layer(image: Tensor, mask: Tensor) -> Layer:
    fitted = resize_mask(mask, image.shape[2], image.shape[1])
    alpha = 1.0 - repeat_to_batch(fitted, len(image)).unsqueeze(-1)
    return Layer(image[..., :3] * alpha, alpha)


def _union(s: Layer, d: Layer) -> Tensor:
    return s.alpha + d.alpha - s.alpha * d.alpha


def _overlay(s: Layer, d: Layer) -> Tensor:
    dark = 2 * s.color * d.color
    light = s.alpha * d.alpha - 2 * (d.alpha - d.color) * (s.alpha - s.color)
    return torch.where(2 * d.color < d.alpha, dark, light)


def _apart(s: Layer, d: Layer) -> Tensor:
    """Each colour where the other layer is not."""
    return (1 - d.alpha) * s.color + (1 - s.alpha) * d.color


MODES: dict[str, Callable[[Layer, Layer], tuple[Tensor, Tensor]]] = {
    "ADD": lambda s, d: (s.color + d.color, (s.alpha + d.alpha).clamp(max=1.0)),
    "CLEAR": lambda _s, d: (torch.zeros_like(d.color), torch.zeros_like(d.alpha)),
    "DARKEN": lambda s, d: (_apart(s, d) + torch.minimum(s.color, d.color), _union(s, d)),
    "DST": lambda _s, d: (d.color, d.alpha),
    "DST_ATOP": lambda s, d: (s.alpha * d.color + (1 - d.alpha) * s.color, s.alpha),
    "DST_IN": lambda s, d: (d.color * s.alpha, s.alpha * d.alpha),
    "DST_OUT": lambda s, d: ((1 - s.alpha) * d.color, (1 - s.alpha) * d.alpha),
    "DST_OVER": lambda s, d: (d.color + (1 - d.alpha) * s.color, _union(s, d)),
    "LIGHTEN": lambda s, d: (_apart(s, d) + torch.maximum(s.color, d.color), _union(s, d)),
    "MULTIPLY": lambda s, d: (s.color * d.color, s.alpha * d.alpha),
    "OVERLAY": lambda s, d: (_overlay(s, d), _union(s, d)),
    "SCREEN": lambda s, d: (s.color + d.color - s.color * d.color, _union(s, d)),
    "SRC": lambda s, _d: (s.color, s.alpha),
    "SRC_ATOP": lambda s, d: (d.alpha * s.color + (1 - s.alpha) * d.color, d.alpha),
    "SRC_IN": lambda s, d: (s.color * d.alpha, s.alpha * d.alpha),
    "SRC_OUT": lambda s, d: ((1 - d.alpha) * s.color, (1 - d.alpha) * s.alpha),
    "SRC_OVER": lambda s, d: (s.color + (1 - s.alpha) * d.color, _union(s, d)),
    "XOR": lambda s, d: (_apart(s, d), s.alpha + d.alpha - 2 * s.alpha * d.alpha),
}
