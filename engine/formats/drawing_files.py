"""Drawings as SVG, and as PNG."""

from __future__ import annotations

import io
import itertools
from html import escape
from typing import Any

from ..graph.layered import Point
from .drawing import PAPER, Curve, Dot, Drawing, Rect, Words

FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
RADIUS, DOT_RADIUS, BEND = 6, 4, 0.5
MAX_PIXELS, MAX_SCALE = 20_000_000, 2.0
STEPS = 24


def as_svg(drawing: Drawing) -> str:
    """Return a drawing as the text of an SVG file."""
    width, height = round(drawing.width), round(drawing.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONT}">\n'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>\n'
    )
    return head + "\n".join(map(_svg, drawing.shapes)) + "\n</svg>\n"


def _svg(shape: Rect | Words | Dot | Curve) -> str:
    if isinstance(shape, Rect):
        return (
            f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.0f}" '
            f'height="{shape.height:.0f}" rx="{RADIUS}" fill="{shape.fill}" '
            f'stroke="{shape.outline}" stroke-width="1.5"/>'
        )
    if isinstance(shape, Dot):
        return (
            f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{DOT_RADIUS}" '
            f'fill="{shape.colour}" stroke="{PAPER}"/>'
        )
    if isinstance(shape, Curve):
        return (
            f'<path d="{_path(shape)}" fill="none" stroke="{shape.colour}" stroke-width="2" '
            f'stroke-opacity="0.75"/>'
        )
    weight = ' font-weight="600"' if shape.is_bold else ""
    anchor = ' text-anchor="end"' if shape.is_right else ""
    text = escape("".join(c if c.isprintable() else " " for c in shape.text))
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}" '
        f'fill="{shape.colour}"{weight}{anchor}>{text}</text>'
    )


def _path(curve: Curve) -> str:
    (x, y), *_ = curve.points
    path = [f"M{x:.1f} {y:.1f}"]
    for index, (start, end) in enumerate(itertools.pairwise(curve.points)):
        bend = _bend(start, end)
        if index % 2:
            path.append(f"L{end.x:.1f} {end.y:.1f}")
        else:
            path.append(
                f"C{start.x + bend:.1f} {start.y:.1f} {end.x - bend:.1f} {end.y:.1f} "
                f"{end.x:.1f} {end.y:.1f}"
            )
    return " ".join(path)


def as_png(drawing: Drawing) -> bytes:
    """Return a drawing as a PNG file, twice as large as the SVG if that is not too large."""
    from PIL import Image, ImageDraw

    area = max(1.0, drawing.width * drawing.height)
    scale = min(MAX_SCALE, (MAX_PIXELS / area) ** 0.5)
    size = max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale))
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        _paint(pen, shape, scale)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _paint(pen: Any, shape: Rect | Words | Dot | Curve, scale: float) -> None:
    from PIL import ImageFont

    if isinstance(shape, Rect):
        corners = (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
        box = [value * scale for value in corners]
        width = max(1, round(1.5 * scale))
        pen.rounded_rectangle(box, RADIUS * scale, shape.fill, shape.outline, width)
    elif isinstance(shape, Dot):
        center = (shape.x * scale, shape.y * scale)
        pen.circle(center, DOT_RADIUS * scale, shape.colour, PAPER)
    elif isinstance(shape, Curve):
        points = [(x * scale, y * scale) for x, y in _points(shape)]
        pen.line(points, shape.colour, max(1, round(2 * scale)), "curve")
    else:
        font = ImageFont.load_default(shape.size * scale)
        anchor = "rs" if shape.is_right else "ls"
        at = (shape.x * scale, shape.y * scale)
        stroke = 0.3 * scale if shape.is_bold else 0
        pen.text(at, shape.text, shape.colour, font, anchor, stroke_width=stroke)


def _points(curve: Curve) -> list[tuple[float, float]]:
    """Return points on the same curve that SVG draws."""
    points: list[tuple[float, float]] = []
    for index, (start, end) in enumerate(itertools.pairwise(curve.points)):
        if index % 2:
            points += [start, end]
            continue
        bend = _bend(start, end)
        for step in range(STEPS + 1):
            t = step / STEPS
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            x = a * start.x + b * (start.x + bend) + c * (end.x - bend) + d * end.x
            points.append((x, (a + b) * start.y + (c + d) * end.y))
    return points


def _bend(start: Point, end: Point) -> float:
    return max(30.0, min(160.0, abs(end.x - start.x) * BEND))
