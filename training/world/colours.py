"""The named colours, and what season and hour do to a landscape's."""

from __future__ import annotations

import math

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
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
SEASONS = ("spring", "summer", "autumn", "winter")
HOURS = ("day", "sunset", "night")
# From the top of the sky to the horizon.
SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((92, 168, 236), (205, 230, 248)),
    "sunset": ((196, 84, 122), (254, 188, 96)),
    "night": ((10, 14, 50), (40, 50, 108)),
}
LIGHTS: dict[str, Colour] = {
    "day": (255, 226, 70),
    "sunset": (255, 92, 46),
    "night": (244, 240, 208),
}
# What the hour leaves of a colour in daylight: a factor and an offset for each channel.
TINTS: dict[str, tuple[tuple[float, float, float], Colour]] = {
    "day": ((1.0, 1.0, 1.0), (0, 0, 0)),
    "sunset": ((0.94, 0.74, 0.66), (10, 0, 8)),
    "night": ((0.5, 0.52, 0.66), (0, 4, 22)),
}
GROUNDS: dict[str, Colour] = {
    "spring": (158, 214, 92),
    "summer": (52, 146, 58),
    "autumn": (190, 124, 52),
    "winter": (238, 242, 248),
}
CROWNS: dict[str, Colour] = {
    "spring": (246, 168, 204),
    "summer": (26, 98, 46),
    "autumn": (224, 84, 28),
    "winter": (160, 194, 212),
}
ROCKS: dict[str, Colour] = {
    "spring": (128, 140, 166),
    "summer": (112, 124, 150),
    "autumn": (134, 116, 132),
    "winter": (186, 200, 222),
}
WATERS: dict[str, Colour] = {
    "spring": (64, 150, 206),
    "summer": (44, 126, 196),
    "autumn": (62, 118, 164),
    "winter": (160, 200, 226),
}
INK: Colour = (38, 32, 44)
TRUNK: Colour = (112, 76, 46)
SNOW: Colour = (246, 248, 252)


def contrast(one: str, other: str) -> bool:
    """Whether two named colours are easily told apart."""
    return math.dist(COLOURS[one], COLOURS[other]) > 105


def contrasting(*grounds: str) -> list[str]:
    """The colours that stand out from all of the given ones."""
    return [c for c in COLOURS if all(contrast(c, ground) for ground in grounds)]


def clip(colour: tuple[float, ...]) -> Colour:
    """The nearest colour of three bytes."""
    red, green, blue = (max(0, min(255, round(v))) for v in colour)
    return red, green, blue


def scale(colour: Colour, factor: float) -> Colour:
    """A darker (below 1) or brighter shade."""
    return clip(tuple(v * factor for v in colour))


def shaded(colour: Colour) -> Colour:
    """The colour of a thing's darker parts: a roof, a hull, the stripes of a balloon."""
    return scale(colour, 0.76) if sum(colour) > 150 else (62, 62, 66)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    return clip(tuple(a * (1 - share) + b * share for a, b in zip(one, other, strict=True)))


def at_hour(colour: Colour, hour: str) -> Colour:
    """How a colour in daylight looks at an hour."""
    factors, offsets = TINTS[hour]
    return clip(tuple(v * f + o for v, f, o in zip(colour, factors, offsets, strict=True)))
