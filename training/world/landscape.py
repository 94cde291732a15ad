"""Draws a landscape, from the sky to what stands in front.

The geometry comes from the scene's seed in an order that neither season, hour nor style
changes: the same place can be drawn at another time.
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
from training.world.scenes import Landscape, Thing
from training.world.shapes import Point, box, crescent, place

BANK = 0.77


def draw_landscape(brush: Brush, scene: Landscape) -> None:
    """Paint the whole picture."""
    dice = random.Random(scene.seed)
    top, bottom = SKIES[scene.hour]
    brush.fade(top, bottom, scene.horizon + 0.02)
    _draw_sky(brush, scene, dice)
    _draw_back(brush, scene, dice)
    _draw_ground(brush, scene, dice)
    _draw_groves(brush, scene, dice)
    for thing in sorted(scene.things, key=lambda thing: thing.y + thing.half):
        brush.thing(thing, _colour_of(thing, scene), scene.hour)


def _colour_of(thing: Thing, scene: Landscape) -> Colour:
    daylight = COLOURS[thing.colour] if thing.colour else CROWNS[scene.season]
    return at_hour(daylight, scene.hour)


def _draw_sky(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    x, y = dice.uniform(0.14, 0.86), dice.uniform(0.13, 0.2)
    stars = [(dice.random(), dice.uniform(0.02, 0.4)) for _ in range(9)]
    puffs = [(dice.uniform(0.1, 0.9), dice.uniform(0.1, 0.26)) for _ in range(2)]
    if scene.hour == "night":
        for star_x, star_y in stars:
            brush.disc(star_x, star_y, 0.01, LIGHTS["night"], line=False)
    if scene.light and scene.hour == "night":
        moon = place(crescent(), x * brush.size, y * brush.size, 0.09 * brush.size)
        brush.polygon(moon, LIGHTS["night"])
    elif scene.light:
        brush.disc(x, y, 0.09, LIGHTS[scene.hour])
    white = mix(at_hour(SNOW, scene.hour), SKIES[scene.hour][1], 0.25)
    for puff_x, puff_y in puffs[: scene.clouds]:
        for shift, radius in ((-0.07, 0.042), (0.075, 0.046), (0.0, 0.066)):
            brush.disc(puff_x + shift, puff_y - radius * 0.5, radius, white, line=False)


def _draw_back(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    peaks = [
        (x + dice.uniform(-0.08, 0.08), dice.uniform(0.16, 0.26), dice.uniform(0.22, 0.32))
        for x in (0.08, 0.5, 0.92)
    ]
    phase, wave = dice.uniform(0, math.tau), dice.uniform(0.03, 0.06)
    haze = SKIES[scene.hour][1]
    if scene.back == "mountains":
        rock = at_hour(ROCKS[scene.season], scene.hour)
        for x, height, half in peaks:
            _draw_peak(brush, scene, (x, height, half), rock)
    elif scene.back == "hills":
        colour = mix(at_hour(scale(GROUNDS[scene.season], 0.84), scene.hour), haze, 0.2)
        ridge = _wave(brush, scene.horizon - 0.09, wave, phase, 2.2)
        brush.polygon(_down(brush, ridge), colour)


def _draw_peak(
    brush: Brush, scene: Landscape, peak: tuple[float, float, float], rock: Colour
) -> None:
    x, height, half = peak
    base = scene.horizon + 0.03
    brush.polygon(_pixels(brush, [(x - half, base), (x, base - height), (x + half, base)]), rock)
    cap = 0.55 if scene.season == "winter" else 0.3
    left, right = x - half * cap, x + half * cap
    low = base - height * (1 - cap)
    zigzag = [(right, low), (x + half * cap * 0.3, low - 0.03), (x, low), (left, low)]
    snow = at_hour(SNOW, scene.hour)
    brush.polygon(_pixels(brush, [(x, base - height), *zigzag]), snow, line=False)


def _draw_ground(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    far, near = dice.uniform(0, math.tau), dice.uniform(0, math.tau)
    glints = [(dice.uniform(0.05, 0.75), dice.uniform(0.04, 0.9)) for _ in range(4)]
    soil = at_hour(GROUNDS[scene.season], scene.hour)
    if scene.water:
        water = mix(at_hour(WATERS[scene.season], scene.hour), SKIES[scene.hour][1], 0.15)
        brush.polygon(_pixels(brush, list(box(-0.1, scene.horizon, 1.1, 1.1))), water)
        for x, depth in glints:
            y = scene.horizon + depth * (BANK - scene.horizon)
            glint = _pixels(brush, list(box(x, y, x + 0.16, y + 0.014)))
            brush.polygon(glint, mix(water, SNOW, 0.35), line=False)
        bank = _wave(brush, BANK, 0.015, near, 1.5)
        brush.polygon(_down(brush, bank), soil)
        return
    brush.polygon(_down(brush, _wave(brush, scene.horizon, 0.015, far, 1.4)), soil)
    slope = _wave(brush, 0.8, 0.05, near, 1.1)
    brush.polygon(_down(brush, slope), scale(soil, 0.88))


def _draw_groves(brush: Brush, scene: Landscape, dice: random.Random) -> None:
    crown = at_hour(scale(CROWNS[scene.season], 0.94), scene.hour)
    wood = at_hour(TRUNK, scene.hour)
    low = BANK + 0.06 if scene.water else scene.horizon + 0.06
    spots = [
        (dice.random(), low + dice.uniform(0, 0.08), dice.uniform(0.045, 0.06)) for _ in range(3)
    ]
    for x, y, radius in sorted(spots[: scene.groves], key=lambda spot: spot[1]):
        brush.polygon(_pixels(brush, list(box(x - 0.012, y - radius, x + 0.012, y))), wood)
        brush.disc(x, y - 2 * radius, radius * 1.1, crown)


def _wave(brush: Brush, level: float, swing: float, phase: float, turns: float) -> list[Point]:
    """A curve from beyond the left border to beyond the right one."""
    steps = [k / 20 for k in range(-1, 22)]
    return _pixels(
        brush, [(x, level + swing * math.sin(phase + x * turns * math.tau)) for x in steps]
    )


def _down(brush: Brush, curve: list[Point]) -> list[Point]:
    """The area below a curve."""
    low = brush.size * 1.1
    return [*curve, (curve[-1][0], low), (curve[0][0], low)]


def _pixels(brush: Brush, shares: list[Point]) -> list[Point]:
    return [(x * brush.size, y * brush.size) for x, y in shares]
