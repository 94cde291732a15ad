"""Functions of large tensors in tiles, with their results blended over the overlaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

OnTile = Callable[[Tensor, int, int], Tensor]


def count_tiles(height: int, width: int, tile: int, overlap: int) -> int:
    """Return how many square tiles `apply_in_tiles` makes."""
    return len(list(_starts(height, tile, overlap))) * len(list(_starts(width, tile, overlap)))


def apply_in_tiles(
    function: OnTile, x: Tensor, tile: tuple[int, int], overlap: int, scale: float = 1
) -> Tensor:
    """Apply a function to B×C×h×w in tiles, each faded over the overlap on all its sides.

    Args:
        function: takes a tile, its top and its left; returns `scale` times its sides.
        tile: (height, width); tiles at the far edges are cut.
        overlap: of neighbouring tiles, less than a tile.
    """
    sides = zip(x.shape[-2:], tile, strict=True)
    tops, lefts = ([*_starts(size, side, overlap)] for size, side in sides)
    return _blend(function, x, tile, overlap, scale, tops, lefts)


def apply_in_even_tiles(function: OnTile, x: Tensor, tile: tuple[int, int], overlap: int) -> Tensor:
    """Do the same in evenly spread tiles of full size, which overlap by at least `overlap`."""
    sides = zip(x.shape[-2:], tile, strict=True)
    tops, lefts = (_even_starts(size, side, overlap) for size, side in sides)
    return _blend(function, x, tile, overlap, 1, tops, lefts)


def _blend(
    function: OnTile,
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: float,
    tops: Sequence[int],
    lefts: Sequence[int],
) -> Tensor:
    height, width = x.shape[-2:]
    total: Tensor | None = None
    weights = x.new_zeros(1, 1, round(height * scale), round(width * scale), dtype=torch.float32)
    for top in tops:
        for left in lefts:
            result = function(x[..., top : top + tile[0], left : left + tile[1]], top, left)
            fade = _fade(result, round(overlap * scale))
            if total is None:
                total = result.new_zeros(*result.shape[:2], *weights.shape[-2:])
            rows = slice(round(top * scale), round(top * scale) + result.shape[-2])
            columns = slice(round(left * scale), round(left * scale) + result.shape[-1])
            total[..., rows, columns] += result * fade
            weights[..., rows, columns] += fade
    assert total is not None
    return total / weights.to(total)


def _starts(size: int, tile: int, overlap: int) -> Iterator[int]:
    if size <= tile:
        yield 0
        return
    for start in range(0, size - overlap, max(1, tile - overlap)):
        yield max(0, min(size - overlap, start))


def _even_starts(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    steps = -(-(size - tile) // max(1, tile - overlap))
    return [round(index * (size - tile) / steps) for index in range(steps + 1)]


def _fade(tile: Tensor, length: int) -> Tensor:
    """Return weights 1×1×h×w for a tile that rise over `length` cells from its edges."""
    rows, columns = (_ramp(size, length) for size in tile.shape[-2:])
    return (rows[:, None] * columns)[None, None].to(tile)


def _ramp(size: int, length: int) -> Tensor:
    ramp = torch.ones(size)
    for index in range(min(length, size)):
        share = (index + 1) / length
        ramp[index] *= share
        ramp[size - 1 - index] *= share
    return ramp
