"""Draws a landscape, from the sky to what stands in front.

What stands where is written in the scene; the rest of the geometry comes from its seed, in an
order that neither season, hour nor style changes: the same place can be drawn at another time.
"""

from __future__ import annotations

import math
import random

from training.world.colours import (
    COLOURS,
    CROWNS,
    GROUNDS,
    LIGHTS,
    ROCKS,
    SKIES,
    SNOW,
    TRUNK,
    WATERS,
    Colour,
    at_hour,
    mix,
    scale,
)
from training.world.paint import Brush
from training.world.scenes import BANK, Landscape, Spot, Thing
from training.world.shapes import Point, box, cloud, crescent, crown, place, sparkle

# The sky is flat: the share of its height that each band ends at, and of the colour below.
BANDS = ((0.5, 0.0), (0.8, 0.5), (1.0, 1.0))
STARS = ((0.08, 0.07), (0.3, 0.22), (0.42, 0.06), (0.62, 0.19), (0.74, 0.05), (0.93, 0.15))


def draw_landscape(brush: Brush, scene: Landscape) -> None:
    """Paint the whole image."""
    dice = random.Random(scene.seed)
    _draw_sky(brush, scene, dice)
    _draw_back(brush, scene, dice)
    _draw_ground(brush, scene, dice)
    for spot in sorted(scene.trees, key=lambda spot: spot.y):
        _draw_small_tree(brush, scene, spot)
    for thing in sorted(scene.things, key=lambda thing: thing.y + thing.half):
        brush.thing(thing, colour_of(thing, scene), scene.hour)


def colour_of(thing: Thing, scene: Landscape) -> Colour:
    """The colour of a thing at the scene's hour; a tree has that of its season."""
    daylight = COLOURS[thing.colour] if thing.colour else CROWNS[scene.season]
    return at_hour(daylight, scene.hour)


def _draw_sky(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    top, bottom = SKIES[scene.hour]
    above = 0.0
    for end, share in BANDS:
        below = end * scene.horizon + 0.03
        brush.shape(box(-0.1, above, 1.1, below), mix(top, bottom, share), line=False)
        above = below
    shift = dice.uniform(-0.03, 0.03)
    if scene.hour == "night":
        for x, y in STARS:
            if all(math.hypot(x - s.x, y - s.y) > s.size + 0.05 for s in _in_sky(scene)):
                star = place(sparkle(), x + shift, y, 0.016)
                brush.shape(star, LIGHTS["night"], line=False)
    if scene.light:
        _draw_light(brush, scene, scene.light)
    white = mix(at_hour(SNOW, scene.hour), bottom, 0.25)
    for spot in scene.clouds:
        brush.shape(place(cloud(), spot.x, spot.y, spot.size), white)


def _in_sky(scene: Landscape) -> list[Spot]:
    flying = [Spot(t.x, t.y, t.half) for t in scene.things if t.kind == "balloon"]
    return [*scene.clouds, *flying, *([scene.light] if scene.light else [])]


def _draw_light(brush: Brush, scene: Landscape, spot: Spot) -> None:
    """The sun with a pale ring, or the crescent of the moon."""
    colour = LIGHTS[scene.hour]
    if scene.hour == "night":
        brush.shape(place(crescent(), spot.x, spot.y, spot.size), colour)
        return
    ring = mix(SKIES[scene.hour][0], colour, 0.4)
    brush.disc(spot.x, spot.y, 1.4 * spot.size, ring, line=False)
    brush.disc(spot.x, spot.y, spot.size, colour)


def _draw_back(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    peaks = [
        (x + dice.uniform(-0.06, 0.06), dice.uniform(0.17, 0.25), dice.uniform(0.26, 0.34))
        for x in (0.1, 0.5, 0.9)
    ]
    phase, swing = dice.uniform(0, math.tau), dice.uniform(0.03, 0.05)
    haze = SKIES[scene.hour][1]
    if scene.back == "mountains":
        for peak in sorted(peaks, key=lambda peak: -peak[1]):
            _draw_peak(brush, scene, peak)
    elif scene.back == "hills":
        soil = scale(GROUNDS[scene.season], 0.84)
        for level, share, turns in ((0.11, 0.34, 1.1), (0.05, 0.16, 1.6)):
            ridge = _wave(scene.horizon - level, swing, phase * turns, turns)
            brush.shape(_down(ridge), mix(at_hour(soil, scene.hour), haze, share))


def _draw_peak(brush: Brush, scene: Landscape, peak: tuple[float, float, float]) -> None:
    """A mountain: a bright side, a shaded side, and snow on top."""
    x, height, half = peak
    base = scene.horizon + 0.04
    rock = at_hour(ROCKS[scene.season], scene.hour)
    snow = at_hour(SNOW, scene.hour)
    brush.shape([(x - half, base), (x, base - height), (x + half, base)], rock)
    brush.shape(
        [(x, base - height), (x + half, base), (x + half * 0.2, base)],
        scale(rock, 0.84),
        line=False,
    )
    cap = 0.58 if scene.season == "winter" else 0.36
    low, width = base - height * (1 - cap), half * cap
    left, right = (x - width, low), (x + width, low)
    fold, dip = (x + width * 0.2, low - 0.01), (x - width * 0.4, low - 0.035)
    notch = (x + width * 0.55, low - 0.03)
    brush.shape([(x, base - height), right, notch, fold, dip, left], snow, line=False)
    shade = [(x, base - height), right, notch, fold]
    brush.shape(shade, mix(snow, rock, 0.3), line=False)


def _draw_ground(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    far, near = dice.uniform(0, math.tau), dice.uniform(0, math.tau)
    start = dice.uniform(0.05, 0.2)
    soil = at_hour(GROUNDS[scene.season], scene.hour)
    brush.shape(_down(_wave(scene.horizon, 0.012, far, 1.2)), soil)
    if not scene.water:
        slope = _wave(0.8, 0.04, near, 0.9)
        brush.shape(_down(slope), scale(soil, 0.88))
        return
    shore = scene.horizon + 0.04
    water = mix(at_hour(WATERS[scene.season], scene.hour), SKIES[scene.hour][1], 0.15)
    brush.shape(box(-0.1, shore, 1.1, 1.1), water)
    for k, x in enumerate((start, start + 0.5, start + 0.2)):
        y = shore + (0.2 + 0.27 * k) * (BANK - shore)
        brush.shape(box(x, y, x + 0.2, y + 0.018), mix(water, SNOW, 0.3), line=False)
    brush.shape(_down(_wave(BANK, 0.015, near, 1.2)), soil)


def _draw_small_tree(brush: Brush, scene: Landscape, spot: Spot) -> None:
    """A tree of the background, whose foot is at the spot."""
    wood = at_hour(TRUNK, scene.hour)
    leaves = at_hour(scale(CROWNS[scene.season], 0.92), scene.hour)
    x, foot, size = spot.x, spot.y, spot.size
    trunk = box(x - 0.16 * size, foot - size, x + 0.16 * size, foot)
    brush.shape(trunk, wood)
    brush.shape(place(crown(), x, foot - 1.1 * size, size), leaves)


def _wave(level: float, swing: float, phase: float, turns: float) -> list[Point]:
    """A curve from beyond the left border to beyond the right one."""
    steps = [k / 40 for k in range(-2, 44)]
    return [(x, level + swing * math.sin(phase + x * turns * math.tau)) for x in steps]


def _down(curve: list[Point]) -> list[Point]:
    """The area below a curve."""
    return [*curve, (curve[-1][0], 1.1), (curve[0][0], 1.1)]
