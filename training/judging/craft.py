"""How well an image is drawn, whatever it shows: sharp outlines, flat areas, true shapes.

Numbers of generated images count in relation to those of true renders of the same captions.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage, optimize

from training.world.render import to_array
from training.world.shapes import THINGS, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

# An outline is where the image spans so much of 255 within `REACH` pixels.
CONTRAST, REACH = 32, 9
# A pixel is flat when it is so near to the median of its neighbourhood.
FLAT, NEIGHBOURHOOD = 4, 7
SIDE = 96


def acutance(image: Image.Image) -> float:
    """The mean gradient along the outlines, as a share of the contrast that each spans.

    The gradient is taken over two pixels: an anti-aliased outline gives 1, one that is spread
    over n pixels about 2/n.
    """
    pixels = to_array(image).astype(np.float32)
    span = _span(pixels)
    steps = [np.abs(ndimage.correlate1d(pixels, (-1, 0, 1), axis)) for axis in (0, 1)]
    steepest = ndimage.maximum_filter(np.maximum(*steps), (3, 3, 1))
    share = (steepest / np.maximum(span, 1)).max(2)
    ridge = _outlines(pixels, span)
    return float(share[ridge].mean()) if ridge.any() else 0.0


def flatness(image: Image.Image) -> float:
    """The share of pixels away from outlines that are near the median around them."""
    pixels = to_array(image).astype(np.float32)
    away = _span(pixels).max(2) < CONTRAST
    median = ndimage.median_filter(pixels, (NEIGHBOURHOOD, NEIGHBOURHOOD, 1))
    near = np.abs(pixels - median).max(2) <= FLAT
    return float(near[away].sum() / near.size)


def shape_overlap(mask: NDArray[np.bool_], kind: str) -> float:
    """The intersection over union of a mask with the drawn shape of a kind that fits it best."""
    rows, columns = np.where(mask)
    if len(rows) < 16:
        return 0.0
    start = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    reach = max(np.ptp(columns), np.ptp(rows)) / 2 + 1
    spots = _normalised(mask, start, reach)
    first = np.array(_fit_of(kind), float)

    def miss(fit: NDArray[np.float64]) -> float:
        drawn = _silhouette(kind, fit)
        return 1 - float((spots & drawn).sum() / max(1, (spots | drawn).sum()))

    steps = np.vstack([np.zeros(3), np.eye(3) * (4, 4, 3)])
    options = {"initial_simplex": first + steps, "maxiter": 60, "xatol": 0.1, "fatol": 1e-3}
    result = optimize.minimize(miss, first, method="Nelder-Mead", options=options)
    return 1 - float(result.fun)


def _span(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The contrast around each pixel, for each channel."""
    size = (REACH, REACH, 1)
    span: NDArray[np.float32] = ndimage.maximum_filter(pixels, size) - ndimage.minimum_filter(
        pixels, size
    )
    return span


def _outlines(pixels: NDArray[np.float32], span: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the gradient is largest across, with enough contrast around."""
    brightness = pixels.mean(2)
    strength = ndimage.gaussian_gradient_magnitude(brightness, 1.5)
    crest = strength >= 0.98 * ndimage.maximum_filter(strength, 3)
    result: NDArray[np.bool_] = crest & (span.max(2) >= CONTRAST)
    return result


def _normalised(
    mask: NDArray[np.bool_], centre: tuple[float, float], reach: float
) -> NDArray[np.bool_]:
    """The mask around a centre, scaled so that `reach` fills three quarters of SIDE/2."""
    half = reach / 0.75
    box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
    scaled = Image.fromarray(mask.astype(np.uint8) * 255).transform(
        (SIDE, SIDE), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(scaled) > 127


@cache
def _fit_of(kind: str) -> tuple[float, float, float]:
    """Where a kind's polygons lie when their extent fills three quarters of SIDE/2."""
    points = np.array([point for part in THINGS[kind] for point in part.polygon])
    low, high = points.min(0), points.max(0)
    half = 0.75 * SIDE / 2 / (max(high - low) / 2)
    x, y = SIDE / 2 - half * (low + high) / 2
    return float(x), float(y), float(half)


def _silhouette(kind: str, fit: NDArray[np.float64]) -> NDArray[np.bool_]:
    image = Image.new("1", (SIDE, SIDE))
    draw = ImageDraw.Draw(image)
    for part in THINGS[kind]:
        draw.polygon(place(part.polygon, *(float(v) for v in fit)), fill=1)
    return np.asarray(image)
