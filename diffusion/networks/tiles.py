"""Large things in tiles: each is computed for itself, and their overlaps are faded together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def tile_count(height: int, width: int, tile: int, overlap: int) -> int:
    """How many square tiles `in_tiles` makes."""
    return len(list(_starts(height, tile, overlap))) * len(list(_starts(width, tile, overlap)))


def in_tiles(
    whole: Callable[[Tensor, int, int], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: float = 1,
) -> Tensor:
    """A function of B×C×h×w over tiles, each faded over the overlap on all its sides.

    Args:
        whole: of a tile and its top and left place; gives `scale` times the sides.
        tile: (high, wide); tiles at the far edges are cut.
        overlap: of neighbouring tiles, less than a tile.
    """
    sides = zip(x.shape[-2:], tile, strict=True)
    places = [list(_starts(size, side, overlap)) for size, side in sides]
    return _faded(whole, x, tile, overlap, scale, places)


def in_even_tiles(
    whole: Callable[[Tensor, int, int], Tensor], x: Tensor, tile: tuple[int, int], overlap: int
) -> Tensor:
    """The same, of tiles that are all whole and evenly spread; they overlap by at least this."""
    sides = zip(x.shape[-2:], tile, strict=True)
    places = [_even(size, side, overlap) for size, side in sides]
    return _faded(whole, x, tile, overlap, 1, places)


def _faded(
    whole: Callable[[Tensor, int, int], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: float,
    places: list[list[int]],
) -> Tensor:
    height, width = x.shape[-2:]
    total: Tensor | None = None
    weights = x.new_zeros(1, 1, round(height * scale), round(width * scale), dtype=torch.float32)
    for top in places[0]:
        for left in places[1]:
            piece = whole(x[..., top : top + tile[0], left : left + tile[1]], top, left)
            fade = _fade(piece, round(overlap * scale))
            if total is None:
                total = piece.new_zeros(*piece.shape[:2], *weights.shape[-2:])
            rows = slice(round(top * scale), round(top * scale) + piece.shape[-2])
            columns = slice(round(left * scale), round(left * scale) + piece.shape[-1])
            total[..., rows, columns] += piece * fade
            weights[..., rows, columns] += fade
    assert total is not None
    return total / weights.to(total)


def _starts(size: int, tile: int, overlap: int) -> Iterator[int]:
    if size <= tile:
        yield 0
        return
    for start in range(0, size - overlap, max(1, tile - overlap)):
        yield max(0, min(size - overlap, start))


def _even(size: int, tile: int, overlap: int) -> list[int]:
    if size <= tile:
        return [0]
    steps = -(-(size - tile) // max(1, tile - overlap))
    return [round(index * (size - tile) / steps) for index in range(steps + 1)]


def _fade(piece: Tensor, width: int) -> Tensor:
    """1×1×h×w of weights that rise from the edges over `width` cells."""
    old_height, old_width = piece.shape[-2:]
    rows, columns = (_ramp(size, width) for size in (old_height, old_width))
    return (rows[:, None] * columns)[None, None].to(piece)


def _ramp(size: int, width: int) -> Tensor:
    ramp = torch.ones(size)
    for index in range(min(width, size)):
        share = (index + 1) / width
        ramp[index] *= share
        ramp[size - 1 - index] *= share
    return ramp
