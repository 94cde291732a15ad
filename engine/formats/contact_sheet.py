"""Contact sheets: the images of a sweep as PNG pages, with the values of its axes as labels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.Image import Image

MAX_CELL_PX, MIN_CELL_PX = 512, 160
MAX_PAGE_PX = 4096
MAX_IMAGE_PIXELS = 64_000_000
MARGIN, GAP = 24, 12
# Share of the size of a cell that its type has, within these sizes.
TYPE_SHARE, MIN_TYPE_PX, MAX_TYPE_PX = 0.075, 15, 30
PAPER, INK, FAINT = "#ffffff", "#161616", "#5c5c5c"
BAD_PAPER, BAD_INK, BEST = "#fbe3e6", "#a3001e", "#e0a100"


@dataclass(frozen=True, kw_only=True)
class SheetCell:
    """A cell of a sheet.

    Attributes:
        values: the text on each axis.
        image: the file to show; None if there is none.
        problem: why there is none; empty if nothing failed.
        is_best: it has a frame.
    """

    values: tuple[str, ...]
    image: Path | None = None
    problem: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class _Grid:
    """Cells in rows and columns under a heading.

    Attributes:
        columns, rows: their labels; no rows if cells follow each other and have labels below.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[SheetCell | None, ...]
    captions: tuple[str, ...] = field(default=())


def draw_sheet(
    title: str, axes: Sequence[str], cells: Sequence[SheetCell], is_grid: bool = True
) -> Iterator[bytes]:
    """Yield the pages of a sheet as PNG files, at most 4096 pixels wide and about as high.

    The last axis goes across, the one before it down, and each combination of the others has
    pages of its own. Cells of one axis, or of axes that move together, follow each other.

    Args:
        axes: their names.
        is_grid: False if the axes move together.
    """
    size, type_px = _sizes(cells)
    for grid in _grids(axes, cells, is_grid and len(axes) > 1):
        yield from _pages(title, grid, size, type_px)


def _sizes(cells: Sequence[SheetCell]) -> tuple[tuple[int, int], int]:
    """Return width and height of a cell, those of the largest image within limits, and of type."""
    sizes = [size for cell in cells if (size := _size_of(cell)) is not None]
    width = max((size[0] for size in sizes), default=MIN_CELL_PX)
    height = max((size[1] for size in sizes), default=MIN_CELL_PX)
    scale = min(1.0, MAX_CELL_PX / max(width, height))
    scale = max(scale, MIN_CELL_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return size, round(min(MAX_TYPE_PX, max(MIN_TYPE_PX, TYPE_SHARE * max(size))))


def _grids(axes: Sequence[str], cells: Sequence[SheetCell], is_grid: bool) -> Iterator[_Grid]:
    if not is_grid:
        captions = tuple(_caption(axes, cell.values) for cell in cells)
        yield _Grid("", (), (), tuple(cells), captions)
        return
    groups: dict[tuple[str, ...], list[SheetCell]] = {}
    for cell in cells:
        groups.setdefault(cell.values[:-2], []).append(cell)
    columns = tuple(dict.fromkeys(cell.values[-1] for cell in cells))
    for values, members in groups.items():
        rows = tuple(dict.fromkeys(cell.values[-2] for cell in members))
        by_values = {cell.values[-2:]: cell for cell in members}
        placed = tuple(by_values.get((row, column)) for row in rows for column in columns)
        heading = [_caption(axes, values)] if values else []
        heading.append(f"down: {axes[-2]}, across: {axes[-1]}")
        yield _Grid("; ".join(heading), columns, rows, placed)


def _caption(axes: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(axes, values, strict=False))


def _pages(title: str, grid: _Grid, size: tuple[int, int], type_px: int) -> Iterator[bytes]:
    """Yield the pages of a grid: as many columns and rows on each as fit."""
    head = _row_label_width(grid, type_px)
    across = max(1, (MAX_PAGE_PX - 2 * MARGIN - head) // (size[0] + GAP))
    down = max(1, (MAX_PAGE_PX - 2 * MARGIN - 4 * type_px) // _row_height(grid, size, type_px))
    if not grid.columns:
        count = len(grid.cells)
        across = min(across, max(1, round((count * size[1] / size[0]) ** 0.5 + 0.49)))
        for start in range(0, max(1, count), across * down):
            yield _page(title, _flow(grid, start, across, down), size, type_px)
        return
    for top in range(0, len(grid.rows), down):
        for left in range(0, len(grid.columns), across):
            yield _page(title, _window(grid, top, left, across, down), size, type_px)


def _flow(grid: _Grid, start: int, across: int, down: int) -> _Grid:
    part = slice(start, start + across * down)
    return _Grid("", ("",) * across, (), grid.cells[part], grid.captions[part])


def _window(grid: _Grid, top: int, left: int, across: int, down: int) -> _Grid:
    """Return a part of a grid."""
    rows, columns = range(len(grid.rows))[top : top + down], slice(left, left + across)
    width = len(grid.columns)
    cells = [cell for row in rows for cell in grid.cells[row * width : (row + 1) * width][columns]]
    return _Grid(
        grid.heading, grid.columns[columns], tuple(grid.rows[row] for row in rows), tuple(cells)
    )


def _row_label_width(grid: _Grid, type_px: int) -> int:
    font = _font(type_px)
    widths = [round(font.getlength(label)) for label in grid.rows]
    return min(max(widths, default=-GAP), 12 * type_px) + GAP


def _row_height(grid: _Grid, size: tuple[int, int], type_px: int) -> int:
    return size[1] + GAP + (round(2.6 * type_px) if grid.captions else 0)


def _page(title: str, grid: _Grid, size: tuple[int, int], type_px: int) -> bytes:
    from PIL import Image, ImageDraw

    head, step = _row_label_width(grid, type_px), _row_height(grid, size, type_px)
    across = len(grid.columns)
    count = -(-len(grid.cells) // across)
    top = MARGIN + round(1.5 * type_px) * (1 + bool(grid.heading) + bool(grid.rows))
    width = 2 * MARGIN + head + across * (size[0] + GAP) - GAP
    sheet = Image.new("RGB", (width, top + count * step - GAP + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    line = round(1.5 * type_px)
    _write(pen, (MARGIN, MARGIN), title or "Sweep", type_px, INK, width - 2 * MARGIN)
    _write(pen, (MARGIN, MARGIN + line), grid.heading, type_px, FAINT, width - 2 * MARGIN)
    for index, cell in enumerate(grid.cells):
        row, column = divmod(index, across)
        x, y = MARGIN + head + column * (size[0] + GAP), top + row * step
        if row == 0:
            _write(pen, (x, top - line), grid.columns[column], type_px, INK, size[0])
        if column == 0 and grid.rows:
            _write(pen, (MARGIN, y + size[1] // 2 - type_px), grid.rows[row], type_px, INK, head)
        if cell is not None:
            _draw_cell(sheet, pen, cell, (x, y, x + size[0], y + size[1]), type_px)
        if grid.captions:
            _write(pen, (x, y + size[1] + 4), grid.captions[index], type_px, INK, size[0], 2)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_cell(
    sheet: Image, pen: ImageDraw.ImageDraw, cell: SheetCell, box: tuple[int, int, int, int], px: int
) -> None:
    from PIL import Image

    width, height = box[2] - box[0], box[3] - box[1]
    image = _image_of(cell)
    if image is None:
        failed = bool(cell.problem)
        pen.rectangle(box, BAD_PAPER if failed else "#eeeeee")
        text = cell.problem or "no image"
        at, lines = (box[0] + 8, box[1] + 8), max(1, (height - 16) // round(1.3 * px))
        _write(pen, at, text, px, BAD_INK if failed else FAINT, width - 16, lines)
        return
    scale = min(width / image.width, height / image.height)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    at = box[0] + (width - fitted[0]) // 2, box[1] + (height - fitted[1]) // 2
    sheet.paste(image.resize(fitted, Image.Resampling.LANCZOS), at)
    if cell.is_best:
        frame = (at[0] - 4, at[1] - 4, at[0] + fitted[0] + 3, at[1] + fitted[1] + 3)
        pen.rectangle(frame, outline=BEST, width=4)


def _size_of(cell: SheetCell) -> tuple[int, int] | None:
    """Return the size of a cell's image; None if it has none that can be shown."""
    from PIL import Image

    if cell.image is None:
        return None
    try:
        with Image.open(cell.image) as image:
            return image.size if image.width * image.height <= MAX_IMAGE_PIXELS else None
    except (OSError, ValueError, SyntaxError):
        return None


def _image_of(cell: SheetCell) -> Image | None:
    """Return the image of a cell, over white where it is transparent; None if it has none."""
    from PIL import Image

    if cell.image is None or _size_of(cell) is None:
        return None
    try:
        with Image.open(cell.image) as image:
            opaque = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError):
        return None
    paper = Image.new("RGBA", opaque.size, PAPER)
    return Image.alpha_composite(paper, opaque).convert("RGB")


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    px: int,
    colour: str,
    width: int,
    lines: int = 1,
) -> None:
    """Write words in lines of a width; what does not fit ends in three dots."""
    font = _font(px)
    words, rows = text.split(), [""]
    for index, word in enumerate(words):
        longer = f"{rows[-1]} {word}".strip()
        if font.getlength(longer) <= width or not rows[-1]:
            rows[-1] = longer
        elif len(rows) < lines:
            rows.append(word)
        else:
            rows[-1] = " ".join([rows[-1], *words[index:]])
            break
    for row, content in enumerate(rows):
        pen.text((at[0], at[1] + row * round(1.3 * px)), _cut(font, content, width), colour, font)


def _cut(font: Any, text: str, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _font(px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(px)
