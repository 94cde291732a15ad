"""SDXL's refiner: a UNet that attends to OpenCLIP-G and takes sizes and an aesthetic score.

Source: arXiv 2307.01952.
"""

from __future__ import annotations

from .family import Family, NetworkFile
from .space import SDXL as SPACE
from .unet import UNET, recognize_width


def recognize(file: NetworkFile) -> Family | None:
    """Return the family of a UNet with OpenCLIP-G's width."""
    return recognize_width(REFINER, file)


REFINER = Family(
    "sdxl-refiner",
    UNET,
    recognize,
    space=SPACE,
    text_dim=1280,
    native_size=1024,
    size_inputs="score",
)
