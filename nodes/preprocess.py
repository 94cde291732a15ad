"""Pictures that ControlNets are guided by, made without weights."""

from __future__ import annotations

from typing import Annotated

from engine.errors import InputError
from engine.ports import Between
from engine.spec import node

from .ports import Image

Threshold = Annotated[float, Between(0.01, 0.99, step=0.01)]


@node("Canny", category="image/preprocessors")
def canny(image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """White edges on black, one pixel wide, by Canny's detector.

    Args:
        image: pictures B×H×W×C, 3 px a side at least.
        low_threshold: gradients above it continue an edge; a step from 0 to 1 reads 2.6.
        high_threshold: gradients above it start an edge.

    Raises:
        InputError: the low threshold is above the high one, or the picture is too small.
    """
    from diffusion.canny import SMALLEST_SIDE, canny

    if low_threshold > high_threshold:
        wanted = f"high_threshold at most, {high_threshold}"
        raise InputError("Canny", "low_threshold", wanted, low_threshold, "swap the two")
    if min(image.shape[1:3]) < SMALLEST_SIDE:
        got = f"{image.shape[2]}×{image.shape[1]}"
        raise InputError("Canny", "image", f"a picture of {SMALLEST_SIDE} px a side or more", got)
    return canny(image, low_threshold, high_threshold)
