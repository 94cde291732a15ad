"""Images with alpha: join, split and Porter-Duff compositing.

Masks of images are 1 where the image is transparent: alpha is 1 - mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .compose import match_batches, repeat_to_batch
from .resize import resize_image, resize_mask

# Below this alpha, colours cannot be recovered and become black.
MIN_ALPHA = 1e-5
# Alpha this close to an 8-bit level, in units of a level, is that level.
ALPHA_TOLERANCE = 1e-3


class AlphaLayer(NamedTuple):
    """Colours multiplied by alpha, B×H×W×3, and alpha, B×H×W×1."""

    color: Tensor
    alpha: Tensor


def join_alpha(image: Tensor, mask: Tensor) -> Tensor:
    """Add an alpha channel of 1 - mask to images; the mask is resized to the image.

    Alpha that was read from an 8-bit file is saved with the same bytes.
    """
    alpha = _snap_to_levels(1.0 - resize_mask(mask, image.shape[2], image.shape[1]))
    image, alpha = match_batches(image[..., :3], alpha)
    return torch.cat([image, alpha.unsqueeze(-1)], dim=-1)


def _snap_to_levels(alpha: Tensor) -> Tensor:
    """Undo rounding errors of 8-bit levels, which saving would truncate to the level below."""
    level = (alpha * 255).round()
    return torch.where((alpha * 255 - level).abs() < ALPHA_TOLERANCE, level / 255, alpha)


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return colours, and a mask of 1 - alpha; the mask is 0 without alpha."""
    if image.shape[-1] < 4:
        return image[..., :3].clone(), torch.zeros(image.shape[:3])
    return image[..., :3].clone(), 1.0 - image[..., 3]


def compose(
    source: Tensor, source_mask: Tensor, target: Tensor, target_mask: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """Composite the source with the target; masks are 1 where an image is transparent.

    Args:
        source: resized and centre-cropped to the target's size; masks are resized.
        mode: a key of `MODES`.

    Returns:
        Colours in 0..1, not multiplied by alpha, and the mask of their transparency.

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
    shown = torch.where(
        alpha > MIN_ALPHA, color / alpha.clamp(min=MIN_ALPHA), torch.zeros_like(color)
    )
    return shown.clamp(0.0, 1.0), 1.0 - alpha.squeeze(-1).clamp(0.0, 1.0)


def _layer(image: Tensor, mask: Tensor) -> AlphaLayer:
    fitted = resize_mask(mask, image.shape[2], image.shape[1])
    alpha = 1.0 - repeat_to_batch(fitted, len(image)).unsqueeze(-1)
    return AlphaLayer(image[..., :3] * alpha, alpha)


def _union(s: AlphaLayer, d: AlphaLayer) -> Tensor:
    return s.alpha + d.alpha - s.alpha * d.alpha


def _overlay(s: AlphaLayer, d: AlphaLayer) -> Tensor:
    dark = 2 * s.color * d.color
    light = s.alpha * d.alpha - 2 * (d.alpha - d.color) * (s.alpha - s.color)
    return torch.where(2 * d.color < d.alpha, dark, light)


def _exclusive(s: AlphaLayer, d: AlphaLayer) -> Tensor:
    """Return the colours of each layer where the other is transparent."""
    return (1 - d.alpha) * s.color + (1 - s.alpha) * d.color


MODES: dict[str, Callable[[AlphaLayer, AlphaLayer], tuple[Tensor, Tensor]]] = {
    "ADD": lambda s, d: (s.color + d.color, (s.alpha + d.alpha).clamp(max=1.0)),
    "CLEAR": lambda _s, d: (torch.zeros_like(d.color), torch.zeros_like(d.alpha)),
    "DARKEN": lambda s, d: (
        _exclusive(s, d) + torch.minimum(s.color, d.color),
        _union(s, d),
    ),
    "DST": lambda _s, d: (d.color, d.alpha),
    "DST_ATOP": lambda s, d: (s.alpha * d.color + (1 - d.alpha) * s.color, s.alpha),
    "DST_IN": lambda s, d: (d.color * s.alpha, s.alpha * d.alpha),
    "DST_OUT": lambda s, d: ((1 - s.alpha) * d.color, (1 - s.alpha) * d.alpha),
    "DST_OVER": lambda s, d: (d.color + (1 - d.alpha) * s.color, _union(s, d)),
    "LIGHTEN": lambda s, d: (
        _exclusive(s, d) + torch.maximum(s.color, d.color),
        _union(s, d),
    ),
    "MULTIPLY": lambda s, d: (s.color * d.color, s.alpha * d.alpha),
    "OVERLAY": lambda s, d: (_overlay(s, d), _union(s, d)),
    "SCREEN": lambda s, d: (s.color + d.color - s.color * d.color, _union(s, d)),
    "SRC": lambda s, _d: (s.color, s.alpha),
    "SRC_ATOP": lambda s, d: (d.alpha * s.color + (1 - s.alpha) * d.color, d.alpha),
    "SRC_IN": lambda s, d: (s.color * d.alpha, s.alpha * d.alpha),
    "SRC_OUT": lambda s, d: ((1 - d.alpha) * s.color, (1 - d.alpha) * s.alpha),
    "SRC_OVER": lambda s, d: (s.color + (1 - s.alpha) * d.color, _union(s, d)),
    "XOR": lambda s, d: (_exclusive(s, d), s.alpha + d.alpha - 2 * s.alpha * d.alpha),
}
