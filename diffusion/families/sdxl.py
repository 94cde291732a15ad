"""SDXL: a larger UNet that attends to CLIP-L and OpenCLIP-G and takes the image's sizes.

Source: arXiv 2307.01952.
"""

from __future__ import annotations

from .family import Family, NetworkFile
from .space import SDXL as SPACE
from .unet import UNET, recognize_width


def recognize(file: NetworkFile) -> Family | None:
    """Return the family of a UNet with the width of both text encoders."""
    return recognize_width(SDXL, file)


SDXL = Family(
    "sdxl",
    UNET,
    recognize,
    space=SPACE,
    text_dim=2048,
    native_size=1024,
    size_inputs="sizes",
)
