"""The things that pictures show, as polygons around (0, 0) with half size 1; y grows downwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]
Polygon = tuple[Point, ...]


@dataclass(frozen=True)
class Part:
    """A polygon of a thing; `paint` is body, roof, door, window or wood."""

    polygon: Polygon
    paint: str = "body"


def circle() -> Polygon:
    """A disc of radius 1."""
    return tuple((math.cos(k * math.tau / 48), math.sin(k * math.tau / 48)) for k in range(48))


def square() -> Polygon:
    """A square that covers about as much as the disc."""
    return box(-0.88, -0.88, 0.88, 0.88)


def triangle() -> Polygon:
    """A triangle on its base."""
    return ((0.0, -1.0), (1.05, 0.8), (-1.05, 0.8))


def star() -> Polygon:
    """A star of five points, one of them up."""
    radii = (1.12, 0.46)
    angles = (k * math.pi / 5 for k in range(10))
    return tuple(
        (radii[k % 2] * math.sin(a), -radii[k % 2] * math.cos(a)) for k, a in enumerate(angles)
    )


def heart() -> Polygon:
    """The usual heart curve, scaled to the unit box."""
    points = []
    for k in range(48):
        t = k * math.tau / 48
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16, -(y + 2.5) / 15))
    return tuple(points)


def envelope() -> Polygon:
    """A hot-air balloon without its basket: round above, drawn in below."""
    points = []
    for k in range(48):
        a = k * math.tau / 48
        low = max(0.0, math.sin(a))
        points.append((0.82 * math.cos(a) * (1 - 0.35 * low), -0.25 + 0.82 * math.sin(a)))
    return tuple(points)


def crescent() -> Polygon:
    """A crescent open to the right."""
    edge, shift = math.radians(50), 0.38
    outer = [(edge + k * (math.tau - 2 * edge) / 35) for k in range(36)]
    tip_x, tip_y = math.cos(edge) - shift, math.sin(edge)
    radius, start = math.hypot(tip_x, tip_y), math.atan2(tip_y, tip_x)
    inner = [-start - k * (math.tau - 2 * start) / 29 for k in range(30)]
    return tuple(
        [(math.cos(a), math.sin(a)) for a in outer]
        + [(shift + radius * math.cos(a), radius * math.sin(a)) for a in inner]
    )


def box(left: float, top: float, right: float, bottom: float) -> Polygon:
    """An upright rectangle."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


HOUSE = (
    Part(box(-0.75, -0.12, 0.75, 0.95)),
    Part(((-1.05, -0.1), (0.0, -1.05), (1.05, -0.1)), "roof"),
    Part(box(-0.5, 0.25, -0.08, 0.95), "door"),
    Part(box(0.18, 0.2, 0.54, 0.56), "window"),
)
TREE = (
    Part(box(-0.17, 0.5, 0.17, 1.05), "wood"),
    Part(
        (
            (-0.85, 0.55), (-0.38, -0.12), (-0.65, -0.12), (0.0, -1.1),
            (0.65, -0.12), (0.38, -0.12), (0.85, 0.55),
        )
    ),
)  # fmt: skip
BOAT = (
    Part(box(-0.05, -1.0, 0.05, 0.4), "wood"),
    Part(((0.08, -1.0), (0.85, 0.22), (0.08, 0.22))),
    Part(((-0.1, -0.7), (-0.1, 0.22), (-0.62, 0.22))),
    Part(((-1.05, 0.36), (1.05, 0.36), (0.7, 0.92), (-0.7, 0.92)), "roof"),
)
BALLOON = (
    Part(box(-0.24, 0.72, 0.24, 1.02), "wood"),
    Part(envelope()),
)
THINGS: dict[str, tuple[Part, ...]] = {
    "circle": (Part(circle()),),
    "square": (Part(square()),),
    "triangle": (Part(triangle()),),
    "star": (Part(star()),),
    "heart": (Part(heart()),),
    "house": HOUSE,
    "tree": TREE,
    "boat": BOAT,
    "balloon": BALLOON,
}


def place(polygon: Polygon, x: float, y: float, half: float) -> list[Point]:
    """Move a unit polygon to (x, y) and scale it to the half size, all in pixels."""
    return [(x + px * half, y + py * half) for px, py in polygon]
