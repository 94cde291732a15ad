"""What a picture shows: a frozen Scene, drawn at random from a seed.

One seed gives one scene, forever: pools, tests and inputs name scenes by seed. The ranges
below keep what training saw apart from what it is judged on.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from training.shapes import OUTLINES

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "orange": (245, 135, 25),
    "yellow": (248, 215, 45),
    "green": (45, 155, 65),
    "blue": (40, 85, 210),
    "purple": (130, 55, 170),
    "pink": (245, 145, 190),
    "cyan": (70, 200, 215),
    "white": (245, 245, 245),
    "black": (25, 25, 28),
}
SHAPES = tuple(OUTLINES)
STYLES = ("flat", "watercolor", "night")
SKIES = ("blue", "cyan", "pink", "orange", "purple", "black", "yellow")
SOILS = ("green", "yellow", "white", "black", "orange")
PLACES = {
    "center": (0.5, 0.5),
    "left": (0.28, 0.5),
    "right": (0.72, 0.5),
    "top": (0.5, 0.28),
    "bottom": (0.5, 0.72),
}
HALF_SIZES = {"big": (0.30, 0.36), "medium": (0.22, 0.26), "small": (0.16, 0.18)}

TRAINING_SEEDS = range(10_000_000)
HELD_OUT_SEEDS = range(10_000_000, 20_000_000)
INPUT_SEEDS = range(20_000_000, 30_000_000)


@dataclass(frozen=True)
class Thing:
    """One object; x, y and half (its half size) are shares of the picture's side."""

    colour: str
    shape: str
    place: str = "center"
    size: str = "big"
    x: float = 0.5
    y: float = 0.5
    half: float = 0.33


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn: `second` is the gradient's end or the soil's colour."""

    things: tuple[Thing, ...]
    colour: str
    ground: str = "solid"
    second: str | None = None
    style: str = "flat"
    seed: int = 0


def contrast(one: str, other: str) -> bool:
    """Whether two named colours are easily told apart."""
    return math.dist(COLOURS[one], COLOURS[other]) > 105


def contrasting(*grounds: str) -> list[str]:
    """The colours that stand out from all of the given ones."""
    return [c for c in COLOURS if all(contrast(c, ground) for ground in grounds)]


def _pick_ground(dice: random.Random) -> tuple[str, str, str | None]:
    ground = dice.choices(("solid", "gradient", "land"), (0.6, 0.2, 0.2))[0]
    if ground == "land":
        second = dice.choice(SOILS)
        return ground, dice.choice([c for c in SKIES if c != second]), second
    colour = dice.choice(list(COLOURS))
    if ground == "gradient":
        return ground, colour, dice.choice([c for c in COLOURS if c != colour])
    return ground, colour, None


def _pick_thing(dice: random.Random, colours: list[str], place: str, sizes: list[str]) -> Thing:
    size = dice.choice(sizes)
    half = dice.uniform(*HALF_SIZES[size])
    x, y = (c + dice.uniform(-0.03, 0.03) for c in PLACES[place])
    if place != "center":
        half = min(half, 0.25)
    return Thing(dice.choice(colours), dice.choice(SHAPES), place, size, x, y, half)


def sample_scene(seed: int) -> Scene:
    """The scene of a seed."""
    dice = random.Random(seed)
    style = dice.choices(STYLES, (0.54, 0.23, 0.23))[0]
    ground, colour, second = _pick_ground(dice)
    colours = contrasting(colour, second or colour)
    if dice.random() < 0.3:
        pair = (_pick_thing(dice, colours, place, ["small"]) for place in ("left", "right"))
        # Two things have one size, between small and medium, that the caption does not name.
        things = tuple(_sized(thing, dice.uniform(0.18, 0.21)) for thing in pair)
    else:
        place = dice.choices(tuple(PLACES), (0.56, 0.11, 0.11, 0.11, 0.11))[0]
        sizes = ["big", "medium", "small"] if place == "center" else ["medium", "small"]
        things = (_pick_thing(dice, colours, place, sizes),)
    return Scene(things, colour, ground, second, style, seed)


def _sized(thing: Thing, half: float) -> Thing:
    return Thing(thing.colour, thing.shape, thing.place, "medium", thing.x, thing.y, half)
