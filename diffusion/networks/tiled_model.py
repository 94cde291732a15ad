"""Tiled sampling: a network sees a large latent in tiles of a size that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .patch import Patch, ValuePatch
from .tiles import apply_in_even_tiles


class TileWindow(NamedTuple):
    """The position of a tile in a latent, and the latent's height and width, in cells."""

    top: int
    left: int
    full_size: tuple[int, int]

    def crop(self, x: Tensor, height: int, width: int) -> Tensor:
        """Crop a tensor of the latent's size to a tile of `height` × `width` cells."""
        return x[..., self.top : self.top + height, self.left : self.left + width]


@dataclass(frozen=True)
class TiledModel(ValuePatch):
    """A patch that splits each model call into tiles and blends their predictions.

    Blending at every sigma makes neighbouring tiles agree, so that there are no seams to repair
    as there are after a separate pass for each tile.

    Args:
        width, height: of a tile, in cells.
        overlap: least overlap of neighbouring tiles, in cells.

    Source: MultiDiffusion (arXiv 2302.08113).
    """

    width: int
    height: int
    overlap: int

    def predict(self, predict_tile: Callable[[Tensor, TileWindow], Tensor], x: Tensor) -> Tensor:
        """Return a network's output for x, B×C×h×w, blended from its outputs for tiles."""
        full_size = (x.shape[-2], x.shape[-1])

        def predict_at(tile: Tensor, top: int, left: int) -> Tensor:
            return predict_tile(tile, TileWindow(top, left, full_size))

        return apply_in_even_tiles(predict_at, x, (self.height, self.width), self.overlap)


def find_tiling(patches: Sequence[Patch]) -> TiledModel | None:
    """Return the last tiling patch, if there is one."""
    tilings = [patch for patch in patches if isinstance(patch, TiledModel)]
    return tilings[-1] if tilings else None
