"""Pasting changed images back: outside the mask, values do not change."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from .compose import repeat_to_batch
from .masks import bounding_region, max_filter
from .masks import grow as grow_mask
from .resize import resize_mask

# VAEs centre-crop images to whole latent cells.
CELL_PX = 8


class SizeError(UnsuitableValueError):
    """An image that should fit its source has another size."""

    def __init__(self, source: Tensor, image: Tensor) -> None:
        (height, width), (rows, columns) = source.shape[1:3], image.shape[1:3]
        expected = f"{width}×{height} pixels, as the source, or that cut to whole latent cells"
        super().__init__(expected, f"{columns}×{rows}", "resize one of them with ImageScale")


def crop_offset(source: Tensor, image: Tensor) -> tuple[int, int]:
    """Return x, y of an image, which may be cropped to whole latent cells, in its source.

    Raises:
        SizeError: the image has another size.
    """
    rows, columns = (source.shape[axis] - image.shape[axis] for axis in (1, 2))
    if not (0 <= rows < CELL_PX and 0 <= columns < CELL_PX):
        raise SizeError(source, image)
    return columns // 2, rows // 2


def crop_like(image: Tensor, source: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Crop a source, and a mask of its size, like an image; see `crop_offset`.

    Raises:
        SizeError: the image has another size.
    """
    x, y = crop_offset(source, image)
    region = (slice(None), slice(y, y + image.shape[1]), slice(x, x + image.shape[2]))
    if mask is not None:
        mask = resize_mask(mask, source.shape[2], source.shape[1])[region]
    return source[region], mask


def grow_and_fade(mask: Tensor, grow: int, blend: int) -> Tensor:
    """Grow a mask by `grow` pixels, the outer `blend` of which fade out in equal steps.

    The result is at least the mask, and 0 further than `grow` pixels (along rows, columns or
    diagonals) from it. Soft values fade in proportion.

    Args:
        mask: B×H×W.
        blend: at most `grow`.
    """
    if 0 in mask.shape:
        return mask.clone()
    grown = grow_mask(mask, grow - blend, tapered=False)
    result, region = grown.clone(), bounding_region(grown, blend)
    grown, fading = grown[region], result[region]
    for step in range(1, blend + 1):
        grown = max_filter(max_filter(grown, 1, 1, 1), 2, 1, 1)
        torch.maximum(fading, grown * (1 - step / (blend + 1)), out=fading)
    return result


def paste(source: Tensor, changed: Tensor, opacity: Tensor, x: int = 0, y: int = 0) -> Tensor:
    """Paste a changed part on its source.

    Where the opacity is 0 or the part does not reach, the source's values do not change, even if
    the part is NaN there. Where it is 1, the part's values are taken. A part without alpha
    changes colours only; one channel applies to all colours.

    Args:
        source: images B×H×W×C.
        changed: images b×h×w×C with their top left corner at pixel (x, y), entirely inside.
        opacity: b×h×w in 0..1.
    """
    if changed.shape[-1] == 1:
        changed = changed.expand(-1, -1, -1, 3)
    channels = min(source.shape[-1], changed.shape[-1])
    changed = changed[..., :channels]
    batch = max(len(source), len(changed), len(opacity))
    result, changed = repeat_to_batch(source, batch).clone(), repeat_to_batch(changed, batch)
    opacity = repeat_to_batch(opacity, batch).unsqueeze(-1)
    height, width = changed.shape[1:3]
    below = result[:, y : y + height, x : x + width, :channels]
    mixed = torch.where(opacity == 1, changed, changed * opacity + below * (1 - opacity))
    below[:] = torch.where(opacity == 0, below, mixed)
    return result
