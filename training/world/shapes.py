"""The things that images show, as polygons around (0, 0) with half size 1; y grows downwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]
Polygon = tuple[Point, ...]


@dataclass(frozen=True)
class Part:
    """A polygon of a thing; `paint` is body, dark, door, window or wood."""

    polygon: Polygon
    paint: str = "body"


def circle() -> Polygon:
    """A disc of radius 1."""
    return tuple((math.cos(k * math.tau / 96), math.sin(k * math.tau / 96)) for k in range(96))


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
    for k in range(96):
        t = k * math.tau / 96
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 16, -(y + 2.5) / 15))
    return tuple(points)


def envelope(width: float = 1.0) -> Polygon:
    """A hot-air balloon without its basket: round above, drawn in below.

    A share of the full `width` gives a stripe from top to bottom.
    """
    points = []
    for k in range(64):
        a = k * math.tau / 64
        low = max(0.0, math.sin(a))
        x = 0.82 * width * math.cos(a) * (1 - 0.35 * low)
        points.append((x, -0.25 + 0.82 * math.sin(a)))
    return tuple(points)


def crown() -> Polygon:
    """The crown of a tree: wider than high, with seven round lobes."""
    points = []
    for k in range(98):
        a = (k + 0.5) * math.tau / 98
        reach = 0.86 + 0.14 * abs(math.sin(3.5 * (a + math.pi / 2)))
        points.append((1.05 * reach * math.cos(a), -0.36 + 0.74 * reach * math.sin(a)))
    return tuple(points)


def cloud() -> Polygon:
    """A cloud of half width 1: five lobes above a flat base."""
    points = [(-0.92, 0.0)]
    for k in range(71):
        a = math.pi + k * math.pi / 70
        reach = 0.84 + 0.16 * abs(math.sin(2.5 * (a - math.pi)))
        points.append((reach * math.cos(a), 0.62 * reach * math.sin(a)))
    return (*points, (0.92, 0.0))


def sparkle() -> Polygon:
    """A small star of the night sky, with four points."""
    radii = (1.0, 0.36)
    return tuple(
        (radii[k % 2] * math.sin(k * math.pi / 4), -radii[k % 2] * math.cos(k * math.pi / 4))
        for k in range(8)
    )


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
    Part(box(0.4, -0.98, 0.66, -0.3), "dark"),
    Part(box(-0.78, -0.14, 0.78, 0.95)),
    Part(((-1.05, -0.1), (0.0, -1.05), (1.05, -0.1)), "dark"),
    Part(box(-0.55, 0.25, -0.1, 0.95), "door"),
    Part(box(0.14, 0.16, 0.58, 0.58), "window"),
)
TREE = (
    Part(((-0.14, 0.1), (0.14, 0.1), (0.2, 1.05), (-0.2, 1.05)), "wood"),
    Part(crown()),
)
BOAT = (
    Part(box(-0.05, -1.05, 0.05, 0.4), "wood"),
    Part(((0.05, -0.98), (0.85, 0.22), (0.05, 0.22))),
    Part(((-0.05, -0.75), (-0.05, 0.22), (-0.66, 0.22))),
    Part(((-1.05, 0.36), (1.05, 0.36), (0.7, 0.92), (-0.7, 0.92)), "dark"),
)
BALLOON = (
    Part(((-0.34, 0.4), (-0.26, 0.4), (-0.15, 0.78), (-0.21, 0.78)), "wood"),
    Part(((0.34, 0.4), (0.26, 0.4), (0.15, 0.78), (0.21, 0.78)), "wood"),
    Part(envelope()),
    Part(envelope(0.62), "dark"),
    Part(envelope(0.24)),
    Part(box(-0.25, 0.74, 0.25, 1.05), "wood"),
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
