"""How a scene is put on paper: flat polygons, ink lines around them, or watercolour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from training.world.colours import INK, TRUNK, Colour, at_hour, mix, scale
from training.world.scenes import Thing
from training.world.shapes import THINGS, Point, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SUPERSAMPLE = 2
PAPER: Colour = (252, 250, 244)


class Brush:
    """Paints polygons on a square picture of `size` pixels; with ink, each gets an outline."""

    def __init__(self, size: int, ink: bool) -> None:
        self.size = size
        self.ink = ink
        self.picture = Image.new("RGB", (size, size))
        self.draw = ImageDraw.Draw(self.picture)

    def tone(self, colour: Colour) -> Colour:
        """The colour as it comes out: with ink, thinned with paper."""
        return mix(colour, PAPER, 0.25) if self.ink else colour

    def fill(self, colour: Colour) -> None:
        """The whole picture in one colour."""
        self.draw.rectangle((0, 0, self.size, self.size), fill=self.tone(colour))

    def fade(self, top: Colour, bottom: Colour, height: float) -> None:
        """The upper `height` (a share) from one colour to another."""
        rows = int(height * self.size) + 1
        share = np.linspace(0, 1, rows)[:, None]
        column = np.array(self.tone(top)) * (1 - share) + np.array(self.tone(bottom)) * share
        pixels = np.broadcast_to(column[:, None, :], (rows, self.size, 3))
        self.picture.paste(Image.fromarray(pixels.astype(np.uint8)), (0, 0))

    def polygon(self, points: Sequence[Point], colour: Colour, *, line: bool = True) -> None:
        """A polygon given in pixels."""
        self.draw.polygon(points, fill=self.tone(colour))
        if self.ink and line:
            ring = [*points, *points[:2]]
            self.draw.line(ring, fill=INK, width=2 * SUPERSAMPLE, joint="curve")

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, line: bool = True) -> None:
        """A disc given in shares of the side."""
        box = [self.size * v for v in (x - radius, y - radius, x + radius, y + radius)]
        outline = INK if self.ink and line else None
        self.draw.ellipse(box, fill=self.tone(colour), outline=outline, width=2 * SUPERSAMPLE)

    def thing(self, thing: Thing, colour: Colour, hour: str = "day") -> None:
        """A thing in a colour that the hour has tinted already."""
        lit = hour == "night"
        paints = {
            "body": colour,
            "roof": scale(colour, 0.86),
            "door": scale(colour, 0.45) if sum(colour) > 150 else (120, 120, 120),
            "window": (255, 222, 110) if lit else scale(colour, 0.45),
            "wood": at_hour(TRUNK, hour),
        }
        for part in THINGS[thing.kind]:
            spot = (v * self.size for v in (thing.x, thing.y, thing.half))
            small = part.paint in ("window", "door")
            self.polygon(place(part.polygon, *spot), paints[part.paint], line=not small)


def watercolour(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Wobbly, soft outlines, and a pale wash that varies over the paper."""
    size = picture.width
    pixels = np.asarray(picture, np.uint8)
    rows, columns = np.mgrid[0:size, 0:size]
    shift_x, shift_y = ((smooth_noise(generator, size, 9) - 0.5) * 5 for _ in range(2))
    rows = np.clip(rows + shift_y, 0, size - 1).astype(int)
    columns = np.clip(columns + shift_x, 0, size - 1).astype(int)
    soft = Image.fromarray(pixels[rows, columns]).filter(ImageFilter.GaussianBlur(1.0))
    wash = 0.55 * smooth_noise(generator, size, 7) + 0.45 * smooth_noise(generator, size, 12)
    blurred = np.asarray(soft, np.float32)
    # Dark washes let less of the paper through: a night stays a night.
    bright = 0.3 + 0.7 * blurred.max(2) / 255
    share = (bright * (0.08 + 0.42 * np.clip(wash - 0.25, 0, 1)))[..., None]
    return Image.fromarray((blurred + (255 - blurred) * share).clip(0, 255).astype(np.uint8))


def smooth_noise(generator: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """size×size noise in 0..1 that varies over a grid of `cells`."""
    coarse = Image.fromarray(generator.integers(0, 256, (cells, cells), np.uint8))
    smooth = coarse.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / np.float32(255)
