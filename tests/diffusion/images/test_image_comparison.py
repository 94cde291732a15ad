"""Comparison of image files: numbers, parts, alpha, grid, heat map, errors."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from latentloom.diffusion.images.image_comparison import (
    COLORS,
    FULL_HEAT,
    compare_files,
    heat_map,
)
from latentloom.diffusion.images.image_limits import ImageFileError


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def grey(level: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, (level, level, level))


def test_the_parts_of_a_mask_are_measured_apart() -> None:
    changed, mask = grey(100), Image.new("L", (40, 30))
    changed.paste((110, 100, 100), (0, 0, 20, 30))
    mask.paste(255, (0, 0, 20, 30))
    result = compare_files(encoded(grey(100)), encoded(changed), encoded(mask))
    assert result.inside is not None
    assert result.outside is not None
    assert (result.everything.changed, result.inside.changed, result.outside.changed) == (
        600, 600, 0,
    )  # fmt: skip
    assert result.max_levels == 10
    assert (len(result.grid), len(result.grid[0])) == (15, 40)
    assert min(row[0] for row in result.grid) > 1
    assert max(row[-1] for row in result.grid) == 0.0
    with Image.open(io.BytesIO(result.heat)) as heat:
        assert heat.size == (40, 30)
        assert heat.getpixel((39, 0)) == COLORS[0]


def test_alpha_alone_is_a_difference() -> None:
    first = Image.new("RGBA", (8, 8), (9, 9, 9, 255))
    second = first.copy()
    second.putpixel((1, 1), (9, 9, 9, 250))
    result = compare_files(encoded(first), encoded(second))
    assert (result.everything.changed, result.alpha_changed, result.max_levels) == (0, 1, 5)


def test_a_heat_map_ends_in_its_last_colour() -> None:
    ends = heat_map(torch.tensor([[0.0, FULL_HEAT, 10 * FULL_HEAT]], dtype=torch.float64))
    levels = (ends * 255).round().int().tolist()
    assert levels == [[list(COLORS[0]), list(COLORS[-1]), list(COLORS[-1])]]


def test_other_sizes_and_damaged_files_are_refused_by_name() -> None:
    with pytest.raises(ImageFileError) as caught:
        compare_files(encoded(grey(1)), encoded(grey(1, (8, 8))))
    assert (caught.value.expected, caught.value.got) == (
        "the second image to have 40×30 pixels, as the first", "8×8",
    )  # fmt: skip
    with pytest.raises(ImageFileError, match="the mask to be"):
        compare_files(encoded(grey(1)), encoded(grey(1)), b"no image")
