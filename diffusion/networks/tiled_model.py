"""A denoising network asked tile by tile, so that an image of any size fits what it learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .patch import Patch
from .tiles import in_even_tiles


class TileWindow(NamedTuple):
    """Where a tile lies in a whole latent, in cells."""

    top: int
    left: int
    whole: tuple[int, int]

    def of(self, x: Tensor, height: int, width: int) -> Tensor:
        """The tile's part, `height` × `width` cells, of a tensor as large as the whole."""
        return x[..., self.top : self.top + height, self.left : self.left + width]


@dataclass(frozen=True)
class TiledModel:
    """A patch: at each model call a large latent is seen in tiles, which are faded together.

    The fade is of predictions, at every noise level, so that tiles agree where they meet and no
    seam appears; what a pass of its own for each tile would have to repair after.

    Args:
        width, height: of a tile, in cells.
        overlap: least overlap of neighbouring tiles, in cells.

    Source: MultiDiffusion (arXiv 2302.08113).
    """

    width: int
    height: int
    overlap: int

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def predict(self, whole: Callable[[Tensor, TileWindow], Tensor], x: Tensor) -> Tensor:
        """A network's answer for x, B×C×h×w, put together from its answers for tiles."""
        size = (x.shape[-2], x.shape[-1])
        tile = (self.height, self.width)

        def part(piece: Tensor, top: int, left: int) -> Tensor:
            return whole(piece, TileWindow(top, left, size))

        return in_even_tiles(part, x, tile, self.overlap)


def find_tiling(patches: Sequence[Patch]) -> TiledModel | None:
    """The last of these patches that says how to tile."""
    found = [patch for patch in patches if isinstance(patch, TiledModel)]
    return found[-1] if found else None
