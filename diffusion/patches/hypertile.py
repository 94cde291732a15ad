"""HyperTile: self-attention within tiles, whose size may change from call to call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.attention import replace_self_attentions
from ..networks.patch import StepState, ValuePatch

MIN_PX, CELL_PX = 32, 8


@dataclass(frozen=True)
class HyperTile(ValuePatch):
    """Limits self-attention to tiles of a layer's grid, which makes large images cheaper.

    Tiles are even parts of the grid, as small as `tile_px` allows; a side with no such parts is
    not split. Two points follow ComfyUI, not the author, to give the same images: rows and
    columns of a grid that is not square are swapped; and a tile attends to the tokens of its
    number in reading order, which are its own only if tiles are as wide as the grid.

    Args:
        tile_px: least side of a tile in pixels of the image, at least 32.
        swaps: a tile's side is drawn at each call from this many of the smallest but the last.
        depth: how many times the grid may be halved for a layer to be tiled.
        scaled: enlarge tiles on smaller grids, by as much as the grid is smaller.

    Source: tfernd's HyperTile (github.com/tfernd/HyperTile), as in ComfyUI.
    """

    tile_px: int = 256
    swaps: int = 2
    depth: int = 0
    scaled: bool = False

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Limit the self-attention layers of larger grids to tiles."""
        with replace_self_attentions(network, partial(self._make_processor, state)):
            yield

    def _make_processor(self, state: StepState, layer: Any, size: list[int]) -> Any:
        original = layer.processor

        def process(attention: Any, hidden: Tensor, *rest: Any, **options: Any) -> Tensor:
            grid, parts = self._split_grid(hidden.shape[1], size, state.generator)
            if parts == [1, 1]:
                output: Tensor = original(attention, hidden, *rest, **options)
                return output
            tiles = split_into_tiles(hidden, grid, parts)
            options["encoder_hidden_states"] = hidden.reshape(tiles.shape)
            tiles = original(attention, tiles, **options)
            return join_tiles(tiles, grid, parts)

        return process

    def _split_grid(
        self, count: int, size: list[int], generator: torch.Generator
    ) -> tuple[list[int], list[int]]:
        """Return the grid of a layer of `count` tokens, and the number of parts of its sides."""
        height, width = size
        counts = [
            height / 2**halvings * (width / 2**halvings) for halvings in range(self.depth + 1)
        ]
        grid = [round(math.sqrt(count * ratio)) for ratio in (width / height, height / width)]
        if count not in counts or math.prod(grid) != count:
            return grid, [1, 1]
        min_side = max(self.tile_px, MIN_PX) // CELL_PX
        min_side *= 2 ** counts.index(count) if self.scaled else 1
        return grid, [choose_parts(side, min_side, self.swaps, generator) for side in grid]


def choose_parts(side: int, min_side: int, swaps: int, generator: torch.Generator) -> int:
    """Choose into how many even parts of at least `min_side` cells a side is split.

    One of the `swaps` largest numbers is drawn; the last of them never is, as in ComfyUI.
    """
    parts = [side // part for part in range(min(min_side, side), side + 1) if side % part == 0]
    choices = parts[:swaps]
    if len(choices) == 1:
        return choices[0]
    return choices[int(torch.randint(len(choices) - 1, (1,), generator=generator))]


def split_into_tiles(x: Tensor, grid: list[int], parts: list[int]) -> Tensor:
    """Split B×n×c over a grid into (B·tiles)×(cells of a tile)×c."""
    tile = [side // part for side, part in zip(grid, parts, strict=True)]
    tiles = x.reshape(len(x), parts[0], tile[0], parts[1], tile[1], -1).transpose(2, 3)
    return tiles.reshape(-1, math.prod(tile), x.shape[2])


def join_tiles(x: Tensor, grid: list[int], parts: list[int]) -> Tensor:
    """Join the tiles of `split_into_tiles` to the grid."""
    tile = [side // part for side, part in zip(grid, parts, strict=True)]
    tiles = x.reshape(-1, parts[0], parts[1], tile[0], tile[1], x.shape[2]).transpose(2, 3)
    return tiles.reshape(-1, math.prod(grid), x.shape[2])
