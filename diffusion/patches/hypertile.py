"""HyperTile: self-attention within tiles, which may change from call to call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.attention import replace_self_attentions
from ..networks.patch import StepState

MIN_PX, CELL_PX = 32, 8


@dataclass(frozen=True)
class HyperTile:
    """Each place looks at a part of the grid only, which makes large images cheaper.

    Tiles are even parts of a layer's grid, as small as `tile_px` allows; where a side has none,
    it stays whole. In two points this is ComfyUI's form, not the author's, for the same images:
    of a grid that is no square rows and columns change places, and a tile looks at as many places
    of its number in reading order, which are its own only where tiles are as wide as the grid.

    Args:
        tile_px: least side of a tile, of the image; 32 is the least.
        swaps: a tile's side is drawn at each call from so many of the smallest but the last.
        depth: layers are tiled down to half the grid this many times.
        scaled: on a smaller grid tiles have as many more pixels a side.

    Source: tfernd's HyperTile (github.com/tfernd/HyperTile), as in ComfyUI.
    """

    tile_px: int = 256
    swaps: int = 2
    depth: int = 0
    scaled: bool = False

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Let each self-attention of the larger grids look within tiles."""
        with replace_self_attentions(network, partial(self._tiled, state)):
            yield

    def _tiled(self, state: StepState, layer: Any, size: list[int]) -> Any:
        before = layer.processor

        def tiled(attention: Any, hidden: Tensor, *rest: Any, **options: Any) -> Tensor:
            grid, parts = self._parts(hidden.shape[1], size, state.generator)
            if parts == [1, 1]:
                whole: Tensor = before(attention, hidden, *rest, **options)
                return whole
            tiles = cut(hidden, grid, parts)
            options["encoder_hidden_states"] = hidden.reshape(tiles.shape)
            found: Tensor = before(attention, tiles, **options)
            return joined(found, grid, parts)

        return tiled

    def _parts(
        self, count: int, size: list[int], draws: torch.Generator
    ) -> tuple[list[int], list[int]]:
        """A layer's grid of so many places, and into how many parts each of its sides is cut."""
        height, width = size
        counts = [height / 2**level * (width / 2**level) for level in range(self.depth + 1)]
        grid = [round(math.sqrt(count * ratio)) for ratio in (width / height, height / width)]
        if count not in counts or math.prod(grid) != count:
            return grid, [1, 1]
        least = max(self.tile_px, MIN_PX) // CELL_PX
        least *= 2 ** counts.index(count) if self.scaled else 1
        return grid, [parts_of(side, least, self.swaps, draws) for side in grid]


def parts_of(side: int, least: int, swaps: int, draws: torch.Generator) -> int:
    """Into how many even parts of at least `least` places a side is cut: one of the most.

    The last of those that there are to choose from is never drawn, as in ComfyUI.
    """
    parts = [side // part for part in range(min(least, side), side + 1) if side % part == 0]
    chosen = parts[:swaps]
    if len(chosen) == 1:
        return chosen[0]
    return chosen[int(torch.randint(len(chosen) - 1, (1,), generator=draws))]


def cut(x: Tensor, grid: list[int], parts: list[int]) -> Tensor:
    """B×n×c over a grid, as (B·tiles)×(places of a tile)×c."""
    tile = [side // part for side, part in zip(grid, parts, strict=True)]
    tiles = x.reshape(len(x), parts[0], tile[0], parts[1], tile[1], -1).transpose(2, 3)
    return tiles.reshape(-1, math.prod(tile), x.shape[2])


def joined(x: Tensor, grid: list[int], parts: list[int]) -> Tensor:
    """The tiles of `cut` as a grid again."""
    tile = [side // part for side, part in zip(grid, parts, strict=True)]
    tiles = x.reshape(-1, parts[0], parts[1], tile[0], tile[1], x.shape[2]).transpose(2, 3)
    return tiles.reshape(-1, math.prod(grid), x.shape[2])
