"""Changed images pasted back: outside the mask every value stays the source's, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UnsuitableValueError
from .compose import repeat_to_batch
from .masks import around, highest
from .masks import grow as grown
from .resize import resize_mask

# An encoder cuts images to whole latent cells around their centre.
CELL_PX = 8


class SizeError(UnsuitableValueError):
    """An image that should fit its source has another size."""

    def __init__(self, source: Tensor, image: Tensor) -> None:
        (height, width), (rows, columns) = source.shape[1:3], image.shape[1:3]
        expected = f"{width}×{height} pixels, as the source, or that cut to whole latent cells"
        super().__init__(expected, f"{columns}×{rows}", "resize one of them with ImageScale")


def cut_offset(source: Tensor, image: Tensor) -> tuple[int, int]:
    """Where an image that may have been cut to whole latent cells lies in its source: x, y.

    Raises:
        SizeError: it is not as large as that.
    """
    rows, columns = (source.shape[axis] - image.shape[axis] for axis in (1, 2))
    if not (0 <= rows < CELL_PX and 0 <= columns < CELL_PX):
        raise SizeError(source, image)
    return columns // 2, rows // 2


def cut_like(image: Tensor, source: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The source, and a mask over it, cut as an image was; see `cut_offset`.

    Raises:
        SizeError: the image is of another size.
    """
    x, y = cut_offset(source, image)
    place = (slice(None), slice(y, y + image.shape[1]), slice(x, x + image.shape[2]))
    if mask is not None:
        mask = resize_mask(mask, source.shape[2], source.shape[1])[place]
    return source[place], mask


def widen(mask: Tensor, grow: int, blend: int) -> Tensor:
    """A mask grown by `grow` pixels, of which the outer `blend` fall off in equal steps.

    It covers what the mask covers, at least as much; it is 0 further than `grow` pixels (along
    rows, columns or diagonals) from all that the mask covers. Grey values fall off alike.

    Args:
        mask: B×H×W.
        blend: at most `grow`.
    """
    if 0 in mask.shape:
        return mask.clone()
    width = grown(mask, grow - blend, tapered=False)
    result, place = width.clone(), around(width, blend)
    width, fading = width[place], result[place]
    for step in range(1, blend + 1):
        width = highest(highest(width, 1, 1, 1), 2, 1, 1)
        torch.maximum(fading, width * (1 - step / (blend + 1)), out=fading)
    return result


def paste(source: Tensor, changed: Tensor, share: Tensor, x: int = 0, y: int = 0) -> Tensor:
    """The source with a changed part on it.

    Where the share is 0, and where the changed part does not reach, the source's values are kept,
    whatever is in the other, be it NaN; where it is 1 the changed ones are taken. A changed part
    without alpha changes colours only, a grey one all of them.

    Args:
        source: images B×H×W×C.
        changed: images b×h×w×C whose top left corner comes at pixel (x, y), all inside.
        share: b×h×w, how much of the changed part shows.
    """
    if changed.shape[-1] == 1:
        changed = changed.expand(-1, -1, -1, 3)
    channels = min(source.shape[-1], changed.shape[-1])
    changed = changed[..., :channels]
    batch = max(len(source), len(changed), len(share))
    result, changed = repeat_to_batch(source, batch).clone(), repeat_to_batch(changed, batch)
    share = repeat_to_batch(share, batch).unsqueeze(-1)
    height, width = changed.shape[1:3]
    below = result[:, y : y + height, x : x + width, :channels]
    mixed = torch.where(share == 1, changed, changed * share + below * (1 - share))
    below[:] = torch.where(share == 0, below, mixed)
    return result
