"""Two image files compared: numbers, a coarse grid for terminals, and a heat map."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .difference import Comparison, ImageDifference
from .image_files import decode
from .image_headers import read_header
from .image_limits import ImageFileError
from .images import LoadedImage, encode_png, from_pillow

FULL_HEAT = 20.0
"""The CIEDE2000 that has the last colour of a heat map, and all above it."""
COLORS = ((16, 16, 24), (84, 30, 110), (188, 55, 84), (243, 132, 36), (252, 255, 164))
MAX_GRID_COLUMNS, MAX_GRID_ROWS = 48, 24


class FileComparison(NamedTuple):
    """The differences of two images.

    Attributes:
        inside, outside: of the parts where a mask is above 0, and 0; None for an empty part or
            without a mask.
        max_levels: the largest difference of a value, alpha included, of 255.
        alpha_changed: number of pixels whose alpha differs.
        grid: mean CIEDE2000 of rectangles, at most 24 rows of 48.
        heat: a PNG of the size of the images; brighter is more different.
    """

    width: int
    height: int
    everything: ImageDifference
    inside: ImageDifference | None
    outside: ImageDifference | None
    max_levels: int
    alpha_changed: int
    grid: list[list[float]]
    heat: bytes


def compare_files(first: bytes, second: bytes, mask: bytes | None = None) -> FileComparison:
    """Compare two image files of one size, as 8-bit RGB and alpha.

    Args:
        mask: an image file of the same size; its red channel above 0 is inside.

    Raises:
        ImageFileError: a file cannot be read, or the sizes differ.
    """
    before, clear1 = _load("the first image", first)
    after, clear2 = _load("the second image", second)
    _check_size("the second image", before, after)
    inside = None
    if mask is not None:
        covered = _load("the mask", mask).image
        _check_size("the mask", before, covered)
        inside = covered[..., 0] > 0
    comparison = Comparison(before, after)
    alpha1, alpha2 = (_alpha(clear, before) for clear in (clear1, clear2))
    levels = (_levels(before) - _levels(after)).abs().amax()
    everything = comparison.measure()
    assert everything is not None
    return FileComparison(
        width=before.shape[2],
        height=before.shape[1],
        everything=everything,
        inside=None if inside is None else comparison.measure(inside),
        outside=None if inside is None else comparison.measure(~inside),
        max_levels=max(int(levels), int((alpha1 - alpha2).abs().amax())),
        alpha_changed=int((alpha1 != alpha2).sum()),
        grid=_grid(comparison.delta_e[0]),
        heat=encode_png(heat_map(comparison.delta_e[0]), {}),
    )


def heat_map(delta_e: Tensor) -> Tensor:
    """Return H×W of CIEDE2000 as an image H×W×3: dark for none, yellow from `FULL_HEAT` on."""
    stops = torch.tensor(COLORS, dtype=torch.float32) / 255.0
    position = (delta_e.float() / FULL_HEAT).clamp(0, 1).sqrt() * (len(COLORS) - 1)
    lower = position.floor().long().clamp(max=len(COLORS) - 2)
    share = (position - lower).unsqueeze(-1)
    return stops[lower] * (1 - share) + stops[lower + 1] * share


def _grid(delta_e: Tensor) -> list[list[float]]:
    height, width = delta_e.shape
    columns = min(MAX_GRID_COLUMNS, width)
    # Characters of terminals are about twice as high as wide.
    rows = min(MAX_GRID_ROWS, height, max(1, round(columns * height / width / 2)))
    means = adaptive_avg_pool2d(delta_e[None, None], (rows, columns))[0, 0]
    cells: list[list[float]] = means.tolist()
    return cells


def _load(name: str, data: bytes) -> LoadedImage:
    try:
        return from_pillow(decode(read_header(data)))
    except ImageFileError as error:
        raise ImageFileError(f"{name} to be {error.expected}", error.got, error.hint) from error


def _alpha(transparent: Tensor, image: Tensor) -> Tensor:
    """Return the alpha as levels H×W; 255 where the file has none."""
    if transparent.shape[1:] != image.shape[1:3]:
        return torch.full(image.shape[1:3], 255, dtype=torch.int32)
    return 255 - _levels(transparent)[0]


def _levels(values: Tensor) -> Tensor:
    return (values * 255).round().int()


def _check_size(name: str, expected: Tensor, got: Tensor) -> None:
    if expected.shape[1:3] != got.shape[1:3]:
        sizes = [f"{image.shape[2]}×{image.shape[1]}" for image in (expected, got)]
        raise ImageFileError(f"{name} to have {sizes[0]} pixels, as the first", sizes[1])
