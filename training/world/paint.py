"""How a scene is put on paper: flat polygons, ink lines around them, or watercolour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.world.colours import INK, TRUNK, Colour, at_hour, mix, scale, shaded
from training.world.scenes import Thing
from training.world.shapes import THINGS, Point, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Images are drawn so many times larger and reduced: their outlines are smooth.
SUPERSAMPLE = 4
PAPER: Colour = (252, 250, 244)
# The width of an ink line, as a share of the side: 3 px of 256.
LINE_WIDTH = 3 / 256
PANE: Colour = (222, 236, 244)
LIT_PANE: Colour = (255, 222, 110)


class Brush:
    """Paints polygons on a square image of `size` pixels; with ink, each gets an outline."""

    def __init__(self, size: int, ink: bool) -> None:
        self.size = size
        self.ink = ink
        self.line_width = round(LINE_WIDTH * size)
        self.image = Image.new("RGB", (size, size))
        self.draw = ImageDraw.Draw(self.image)

    def tone(self, colour: Colour) -> Colour:
        """The colour as it comes out: with ink, thinned with paper, dark ones less."""
        return mix(colour, PAPER, 0.1 + 0.15 * max(colour) / 255) if self.ink else colour

    def fill(self, colour: Colour) -> None:
        """The whole image in one colour."""
        self.draw.rectangle((0, 0, self.size, self.size), fill=self.tone(colour))

    def polygon(self, points: Sequence[Point], colour: Colour, *, line: bool = True) -> None:
        """A polygon given in pixels."""
        self.draw.polygon(points, fill=self.tone(colour))
        if self.ink and line:
            ring = [*points, *points[:2]]
            self.draw.line(ring, fill=INK, width=self.line_width, joint="curve")

    def shape(self, points: Sequence[Point], colour: Colour, *, line: bool = True) -> None:
        """A polygon given in shares of the side."""
        pixels = [(x * self.size, y * self.size) for x, y in points]
        self.polygon(pixels, colour, line=line)

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, line: bool = True) -> None:
        """A disc given in shares of the side."""
        box = [self.size * v for v in (x - radius, y - radius, x + radius, y + radius)]
        outline = INK if self.ink and line else None
        self.draw.ellipse(box, fill=self.tone(colour), outline=outline, width=self.line_width)

    def thing(self, thing: Thing, colour: Colour, hour: str = "day") -> None:
        """A thing in a colour that the hour has tinted already."""
        paints = paints_of(colour, hour)
        spot = (thing.x * self.size, thing.y * self.size, thing.half * self.size)
        for part in THINGS[thing.kind]:
            self.polygon(place(part.polygon, *spot), paints[part.paint])


def paints_of(colour: Colour, hour: str) -> dict[str, Colour]:
    """The colour of each kind of part of a thing, whose own colour the hour has tinted already."""
    return {
        "body": colour,
        "dark": shaded(colour),
        "door": scale(colour, 0.42) if sum(colour) > 150 else (120, 120, 120),
        "window": _pane(colour, hour),
        "wood": at_hour(TRUNK, hour),
    }


def _pane(wall: Colour, hour: str) -> Colour:
    """The colour of a window that stands out from its wall; lit at night."""
    if hour == "night":
        return LIT_PANE
    return scale(wall, 0.5) if min(wall) > 180 else at_hour(PANE, hour)


def watercolour(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A pale wash that varies over the paper, soft outlines, darker where the paint dried."""
    size = image.width
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(size / 430)), np.float32)
    width = np.asarray(image.filter(ImageFilter.GaussianBlur(size / 90)), np.float32)
    dried = (width - soft).max(2, keepdims=True).clip(0, 40) / 40
    wash = smooth_noise(generator, size, 4)[..., None]
    # Dark washes let less of the paper through: a night stays a night.
    bright = 0.2 + 0.8 * soft.max(2, keepdims=True) / 255
    share = bright * (0.08 + 0.28 * wash)
    washed = (soft + (np.array(PAPER, np.float32) - soft) * share) * (1 - 0.2 * dried)
    return Image.fromarray(washed.clip(0, 255).astype(np.uint8))


def smooth_noise(generator: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """size×size noise in 0..1 that varies over a grid of `cells`."""
    coarse = Image.fromarray(generator.integers(0, 256, (cells, cells), np.uint8))
    smooth = coarse.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / np.float32(255)
