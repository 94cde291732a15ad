"""Stable Diffusion 1.x: a UNet that attends to CLIP-L."""

from __future__ import annotations

from .family import Family, NetworkFile
from .unet import UNET, recognize_width


def recognize(file: NetworkFile) -> Family | None:
    """Return the family of a UNet with CLIP-L's width."""
    return recognize_width(SD15, file)


SD15 = Family("sd15", UNET, recognize, text_dim=768)
