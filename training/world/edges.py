"""Edges of images, and how well two images' edges agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from latentloom.diffusion.images.canny import canny
from training.world.render import to_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Low enough for pale and dark scenes; a clean drawing has no noise to find.
LOW, HIGH = 0.1, 0.2
# One image in four has the few edges that the usual thresholds of Canny's node find.
USUAL_LOW, USUAL_HIGH = 0.4, 0.8
TOLERANCE = 2


def edges_of(image: Image.Image, *, stretch: bool = False) -> NDArray[np.bool_]:
    """H×W: where the image has an edge.

    Args:
        image: any image; made RGB.
        stretch: stretch the brightness to the whole range first, so that the faint contrasts of
            a night count as those of a day.
    """
    if stretch:
        image = ImageOps.autocontrast(image.convert("L"), cutoff=1).convert("RGB")
    result = canny(to_tensor(image), LOW, HIGH)
    return result[0, :, :, 0].numpy() > 0


def find_edges(pixels: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """H×(W/8) bytes: the edges of the pool's image of a number, eight pixels a byte."""
    limits = (LOW, HIGH) if index % 4 else (USUAL_LOW, USUAL_HIGH)
    image = torch.from_numpy(pixels / np.float32(255))[None]
    return np.packbits(canny(image, *limits)[0, ..., 0].bool().numpy(), axis=1)


def to_tensor(image: Image.Image) -> Tensor:
    """1×H×W×3 floats in 0..1."""
    return torch.from_numpy(to_array(image) / np.float32(255))[None]


def edge_f1(one: NDArray[np.bool_], other: NDArray[np.bool_], reach: int = TOLERANCE) -> float:
    """The F1 score of two edge maps; an edge is met when the other has one within `reach` px.

    Two maps without any edge agree: 1.
    """
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = _met(one, other, reach)
    recall = _met(other, one, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _met(edges: NDArray[np.bool_], others: NDArray[np.bool_], reach: int) -> float:
    away = ndimage.distance_transform_edt(~others)
    return float((away[edges] <= reach).mean())
