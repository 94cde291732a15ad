"""What an image shows: a frozen scene, drawn at random from a seed.

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
# How many scenes are landscapes.
LANDSCAPES = 0.6
# How far from the middle of a sheet a thing may be whose place is not said ("").
ROAM = 0.13
SIDES = ("left", "center", "right")
# Where the near bank of a lake begins.
BANK = 0.77
# The side of an image, in pixels, that the model is trained at.
SIZE = 256
HALF_SIZES = {"big": (0.30, 0.36), "medium": (0.22, 0.26), "small": (0.16, 0.18)}

TRAINING_SEEDS = range(10_000_000)
HELD_OUT_SEEDS = range(10_000_000, 20_000_000)
INPUT_SEEDS = range(20_000_000, 30_000_000)


@dataclass(frozen=True)
class Thing:
    """One object; x, y and half (its half size) are shares of the image's side.

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
class Spot:
    """Where something without a name of its own stands, and its half size."""

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Landscape:
    """A view with a sky above and ground below.

    `dataclasses.replace` with another season, hour or style shows the same place then: nothing
    moves. `back` is mountains, hills or "" (a plain horizon); `light` is the sun or the moon;
    `trees` are those of the background.
    """

    things: tuple[Thing, ...]
    season: str
    hour: str
    style: str = "flat"
    back: str = ""
    water: bool = False
    light: Spot | None = None
    clouds: tuple[Spot, ...] = ()
    trees: tuple[Spot, ...] = ()
    horizon: float = 0.54
    seed: int = 0


Scene = Sheet | Landscape


def sample_scene(seed: int) -> Scene:
    """The scene of a seed; three of five are landscapes."""
    dice = random.Random(seed)
    return sample_landscape(dice, seed) if dice.random() < LANDSCAPES else sample_sheet(dice, seed)


def is_sheet(seed: int) -> bool:
    """Whether the scene of a seed is a sheet."""
    return random.Random(seed).random() >= LANDSCAPES


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
    """A landscape with up to three things in different places."""
    water = dice.random() < 0.35
    horizon = dice.uniform(0.5, 0.58)
    things = _things(dice, water)
    flying = [thing.x for thing in things if thing.kind == "balloon"]
    light = _light(dice, flying)
    taken = [*flying, *([light.x] if light else [])]
    return Landscape(
        things,
        season=dice.choice(SEASONS),
        hour=dice.choices(HOURS, (0.46, 0.27, 0.27))[0],
        style=dice.choices(STYLES, (0.5, 0.25, 0.25))[0],
        back=dice.choice(("mountains", "hills", "")),
        water=water,
        light=light,
        clouds=_clouds(dice, taken) if dice.random() < 0.5 else (),
        trees=_trees(dice, things, water, horizon) if dice.random() < 0.5 else (),
        horizon=horizon,
        seed=seed,
    )


def _things(dice: random.Random, water: bool) -> tuple[Thing, ...]:
    """None to three things that stand apart from each other."""
    kinds = ["boat", "boat", "balloon", "tree", "house"]
    kinds = kinds if water else ["house", "house", "balloon", "tree"]
    count = dice.choices((0, 1, 2, 3), (0.07, 0.4, 0.35, 0.18))[0]
    sides = sorted(dice.sample(SIDES, count), key=SIDES.index)
    if count == 1:
        half, apart = dice.uniform(0.19, 0.25), 0.22
    elif sides == ["left", "right"]:
        half, apart = dice.uniform(0.18, 0.22), 0.24
    else:
        half, apart = dice.uniform(0.14, 0.155), 0.31
    colours = dice.sample(LAND_COLOURS, count)
    things = (
        _in_landscape(dice, dice.choice(kinds), 0.5 + (SIDES.index(side) - 1) * apart, half, water)
        for side in sides
    )
    return tuple(
        replace(thing, place=side, colour="" if thing.kind == "tree" else colour)
        for thing, side, colour in zip(things, sides, colours, strict=True)
    )


def _light(dice: random.Random, flying: list[float]) -> Spot | None:
    """The place of the sun or the moon, away from balloons; none if there is no room."""
    free = _free((0.2, 0.5, 0.8), flying, 0.25)
    if not free or dice.random() > 0.75:
        return None
    return Spot(dice.choice(free) + dice.uniform(-0.04, 0.04), dice.uniform(0.15, 0.2), 0.085)


def _clouds(dice: random.Random, taken: list[float]) -> tuple[Spot, ...]:
    """One or two clouds, away from what else is in the sky."""
    free = _free((0.17, 0.4, 0.62, 0.84), taken, 0.24)
    spots = dice.sample(free, min(len(free), 2))
    if len(spots) == 2 and abs(spots[0] - spots[1]) < 0.3:
        del spots[1]
    return tuple(
        Spot(x + dice.uniform(-0.02, 0.02), dice.uniform(0.17, 0.24), dice.uniform(0.1, 0.13))
        for x in spots
    )


def _trees(
    dice: random.Random, things: tuple[Thing, ...], water: bool, horizon: float
) -> tuple[Spot, ...]:
    """Two or three small trees where nothing stands before them; none if there is no room."""
    standing = [thing.x for thing in things if thing.kind != "balloon"]
    free = _free(tuple(0.07 + 0.123 * k for k in range(8)), standing, 0.27)
    if len(free) < 2:
        return ()
    foot = horizon + (0.035 if water else 0.09)
    return tuple(
        Spot(x + dice.uniform(-0.012, 0.012), foot + dice.uniform(-0.01, 0.02), 0.058)
        for x in dice.sample(free, min(len(free), dice.choice((2, 3))))
    )


def _free(spots: tuple[float, ...], taken: list[float], gap: float) -> list[float]:
    return [x for x in spots if all(abs(x - other) > gap for other in taken)]


def _on_sheet(dice: random.Random, colours: list[str], place: str, size: str, half: float) -> Thing:
    x, y = (c + dice.uniform(-0.03, 0.03) for c in PLACES[place])
    if place != "center":
        half = min(half, 0.25)
    return Thing(dice.choice(colours), dice.choice(KINDS), place, size, x, y, half)


def _in_landscape(dice: random.Random, kind: str, x: float, half: float, water: bool) -> Thing:
    """A thing that stands on the ground, floats on the water or flies in the sky."""
    x += dice.uniform(-0.015, 0.015)
    if kind == "balloon":
        half = min(half, 0.2)
        y = dice.uniform(0.25, 0.3)
    elif kind == "boat":
        y = dice.uniform(0.7, 0.74) - 0.92 * half
    else:
        y = (dice.uniform(0.87, 0.92) if water else dice.uniform(0.76, 0.86)) - half
    return Thing("", kind, size="", x=x, y=y, half=half)
