"""What a picture shows: a frozen scene, drawn at random from a seed.

One seed gives one scene, forever: pools, tests and inputs name scenes by seed. The ranges
below keep what training saw apart from what it is judged on. There are two kinds: landscapes
of a picture book, and sheets with plain shapes on one colour.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from training.world.colours import COLOURS, HOURS, SEASONS, contrasting
from training.world.shapes import THINGS

KINDS = tuple(THINGS)
STYLES = ("flat", "watercolor", "ink")
# Colours that stand out in a landscape at any season.
LAND_COLOURS = ("red", "orange", "yellow", "blue", "purple", "pink")
PLACES = {
    "center": (0.5, 0.5),
    "left": (0.28, 0.5),
    "right": (0.72, 0.5),
    "top": (0.5, 0.28),
    "bottom": (0.5, 0.72),
}
# How far from the middle of a sheet a thing may be whose place is not said ("").
ROAM = 0.13
SIDES = ("left", "center", "right")
HALF_SIZES = {"big": (0.30, 0.36), "medium": (0.22, 0.26), "small": (0.16, 0.18)}

TRAINING_SEEDS = range(10_000_000)
HELD_OUT_SEEDS = range(10_000_000, 20_000_000)
INPUT_SEEDS = range(20_000_000, 30_000_000)


@dataclass(frozen=True)
class Thing:
    """One object; x, y and half (its half size) are shares of the picture's side.

    A place "" is anywhere about the middle, and not said. A tree in a landscape has no colour of
    its own ("").
    """

    colour: str
    kind: str
    place: str = "center"
    size: str = "big"
    x: float = 0.5
    y: float = 0.5
    half: float = 0.33


@dataclass(frozen=True)
class Sheet:
    """Plain things on a ground of one colour."""

    things: tuple[Thing, ...]
    ground: str
    style: str = "flat"
    seed: int = 0


@dataclass(frozen=True)
class Landscape:
    """A view with a sky above and ground below.

    `dataclasses.replace` with another season, hour or style shows the same place then: nothing
    moves. `back` is mountains, hills or "" (a plain horizon); `light` is the sun or the moon.
    """

    things: tuple[Thing, ...]
    season: str
    hour: str
    style: str = "flat"
    back: str = ""
    water: bool = False
    light: bool = True
    clouds: int = 0
    groves: int = 0
    horizon: float = 0.5
    seed: int = 0


Scene = Sheet | Landscape


def sample_scene(seed: int) -> Scene:
    """The scene of a seed; three of five are landscapes."""
    dice = random.Random(seed)
    return sample_landscape(dice, seed) if dice.random() < 0.6 else sample_sheet(dice, seed)


def sample_sheet(dice: random.Random, seed: int) -> Sheet:
    """A sheet with one thing somewhere or with two side by side."""
    style = dice.choices(STYLES, (0.6, 0.2, 0.2))[0]
    ground = dice.choice(list(COLOURS))
    colours = contrasting(ground)
    if dice.random() < 0.3:
        half = dice.uniform(0.18, 0.21)
        things = tuple(
            _on_sheet(dice, colours, place, "medium", half) for place in ("left", "right")
        )
    else:
        place = dice.choices(tuple(PLACES), (0.56, 0.11, 0.11, 0.11, 0.11))[0]
        size = dice.choice(["big", "medium", "small"] if place == "center" else ["medium", "small"])
        half = dice.uniform(*HALF_SIZES[size])
        thing = _on_sheet(dice, colours, place, size, half)
        if place == "center" and dice.random() < 0.5:
            x, y = (0.5 + dice.uniform(-ROAM, ROAM) for _ in "xy")
            thing = replace(thing, place="", x=x, y=y)
        things = (thing,)
    return Sheet(things, ground, style, seed)


def sample_landscape(dice: random.Random, seed: int) -> Landscape:
    """A landscape with up to two things in different places."""
    water = dice.random() < 0.4
    kinds = ["boat", "boat", "balloon", "tree"] if water else ["house", "house", "balloon", "tree"]
    count = dice.choices((1, 2, 0), (0.55, 0.37, 0.08))[0]
    sides = dice.sample(SIDES, count)
    horizon = dice.uniform(0.44, 0.6)
    return Landscape(
        tuple(_in_landscape(dice, dice.choice(kinds), side, water) for side in sides),
        season=dice.choice(SEASONS),
        hour=dice.choices(HOURS, (0.46, 0.27, 0.27))[0],
        style=dice.choices(STYLES, (0.5, 0.25, 0.25))[0],
        back=dice.choice(("mountains", "hills", "")),
        water=water,
        light=dice.random() < 0.7,
        clouds=dice.choices((0, 1, 2), (0.5, 0.25, 0.25))[0],
        groves=dice.choices((0, 1, 2, 3), (0.4, 0.2, 0.2, 0.2))[0],
        horizon=horizon,
        seed=seed,
    )


def _on_sheet(dice: random.Random, colours: list[str], place: str, size: str, half: float) -> Thing:
    x, y = (c + dice.uniform(-0.03, 0.03) for c in PLACES[place])
    if place != "center":
        half = min(half, 0.25)
    return Thing(dice.choice(colours), dice.choice(KINDS), place, size, x, y, half)


def _in_landscape(dice: random.Random, kind: str, side: str, water: bool) -> Thing:
    """A thing that stands on the ground, floats on the water or flies in the sky."""
    x = PLACES[side][0] + dice.uniform(-0.05, 0.05)
    half = dice.uniform(0.15, 0.2)
    if kind == "balloon":
        y = dice.uniform(0.24, 0.32)
    elif kind == "boat":
        y = dice.uniform(0.68, 0.73) - 0.92 * half
    else:
        y = (dice.uniform(0.86, 0.92) if water else dice.uniform(0.74, 0.86)) - half
    return Thing("" if kind == "tree" else dice.choice(LAND_COLOURS), kind, side, "", x, y, half)
