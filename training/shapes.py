"""Outlines of the shapes, as polygons around (0, 0) with half size 1; y grows downwards."""

from __future__ import annotations

import math

Point = tuple[float, float]
Polygon = tuple[Point, ...]


def circle() -> Polygon:
    """A disc of radius 1."""
    return tuple((math.cos(k * math.tau / 48), math.sin(k * math.tau / 48)) for k in range(48))


def square() -> Polygon:
    """A square that covers about as much as the disc."""
    return ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88))


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


def house() -> Polygon:
    """Walls with a roof that hangs over them."""
    return (
        (-0.75, 0.95), (-0.75, -0.1), (-1.05, -0.1), (0.0, -1.05),
        (1.05, -0.1), (0.75, -0.1), (0.75, 0.95),
    )  # fmt: skip


def tree() -> Polygon:
    """A fir of two tiers on a trunk."""
    return (
        (-0.2, 1.05), (-0.2, 0.5), (-0.85, 0.5), (-0.38, -0.15), (-0.65, -0.15), (0.0, -1.1),
        (0.65, -0.15), (0.38, -0.15), (0.85, 0.5), (0.2, 0.5), (0.2, 1.05),
    )  # fmt: skip


def moon() -> Polygon:
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


OUTLINES: dict[str, Polygon] = {
    "circle": circle(),
    "square": square(),
    "triangle": triangle(),
    "star": star(),
    "heart": heart(),
    "house": house(),
    "tree": tree(),
    "moon": moon(),
}
DOOR: Polygon = ((-0.2, 0.3), (0.2, 0.3), (0.2, 0.95), (-0.2, 0.95))


def place(polygon: Polygon, x: float, y: float, half: float) -> list[Point]:
    """Move a unit polygon to (x, y) and scale it to the half size, all in pixels."""
    return [(x + px * half, y + py * half) for px, py in polygon]
