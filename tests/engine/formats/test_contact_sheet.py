"""Contact sheets: cells in rows and columns with their labels, in pages of a limited size."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from latentloom.engine.formats.contact_sheet import (
    BAD_PAPER,
    BEST,
    MAX_PAGE_PX,
    SheetCell,
    draw_sheet,
)


def sheet_of(axes: list[str], cells: list[SheetCell], is_grid: bool = True) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(page)).convert("RGB")
        for page in draw_sheet("T", axes, cells, is_grid)
    ]


def colours(page: Image.Image) -> set[str]:
    counted = page.getcolors(2**24) or []
    return {f"#{bytes(colour).hex()}" for _, colour in counted if isinstance(colour, tuple)}


@pytest.fixture
def red(tmp_path: Path) -> Path:
    Image.new("RGB", (200, 100), "#fe0000").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_the_last_axis_goes_across_and_cells_have_the_size_of_the_images(red: Path) -> None:
    cells = [SheetCell(values=(a, b), image=red) for a in "xy" for b in "123"]
    (page,) = sheet_of(["a", "b"], cells)
    assert 3 * 200 < page.width < 4 * 200
    assert 2 * 100 < page.height < 4 * 100
    row = [page.getpixel((x, page.height - 50)) == (254, 0, 0) for x in range(page.width)]
    assert row.count(True) == 3 * 200


def test_small_images_are_enlarged_and_large_ones_reduced(tmp_path: Path) -> None:
    for name, size in (("small", (16, 16)), ("large", (2000, 1000))):
        Image.new("RGB", size, "#fe0000").save(tmp_path / f"{name}.png")
    widths = {}
    for name in ("small", "large"):
        cell = SheetCell(values=("1",), image=tmp_path / f"{name}.png")
        (page,) = sheet_of(["a"], [cell])
        widths[name] = sum(page.getpixel((x, 150)) == (254, 0, 0) for x in range(page.width))
    assert widths == {"small": 160, "large": 512}


def test_a_failed_cell_and_the_best_are_marked(red: Path, tmp_path: Path) -> None:
    good = SheetCell(values=("1",), image=red)
    assert not colours(sheet_of(["a"], [good])[0]) & {BAD_PAPER, BEST}
    failed = SheetCell(values=("2",), problem="failed: out of range")
    damaged = SheetCell(values=("3",), image=tmp_path / "missing.png")
    best = SheetCell(values=("4",), image=red, is_best=True)
    (page,) = sheet_of(["a"], [good, failed, damaged, best])
    assert {BAD_PAPER, BEST} <= colours(page)


def test_many_cells_take_several_pages_of_a_limited_size(red: Path) -> None:
    cells = [SheetCell(values=(str(a), str(b)), image=red) for a in range(60) for b in range(25)]
    pages = sheet_of(["a", "b"], cells)
    assert len(pages) == 4
    assert all(max(page.size) <= MAX_PAGE_PX for page in pages)


def test_other_axes_have_pages_of_their_own(red: Path) -> None:
    cells = [SheetCell(values=(a, b, c), image=red) for a in "12" for b in "3" for c in "45"]
    assert len(sheet_of(["a", "b", "c"], cells)) == 2
    assert len(sheet_of(["a", "b", "c"], cells, is_grid=False)) == 1


def test_long_values_are_cut(red: Path) -> None:
    cells = [SheetCell(values=("x" * 300, "word " * 200), image=red)]
    assert all(max(page.size) < 1000 for page in sheet_of(["a", "b"], cells))
