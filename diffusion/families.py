"""Model families: what tells them apart, and the figures that sampling needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Prediction = Literal["eps", "v", "x0"]


@dataclass(frozen=True)
class Family:
    """Models whose parts fit each other.

    Attributes:
        name: what edges carry; parts of one name fit.
        latent_channels: C of a latent.
        latent_scale: what a latent is multiplied with on entry to sampling.
        text_dim: width of the text encoding.
        prediction: what the network gives.
        native_size: width and height in pixels that the model was trained at.
        vae_factor: pixels a latent cell is wide.
    """

    name: str
    latent_channels: int = 4
    latent_scale: float = 0.18215
    text_dim: int = 768
    prediction: Prediction = "eps"
    native_size: int = 512
    vae_factor: int = 8


KNOWN = {
    768: Family("sd15"),
    1024: Family("sd21", text_dim=1024, native_size=768),
    2048: Family("sdxl", latent_scale=0.13025, text_dim=2048, native_size=1024),
}


def family_for(text_dim: int) -> Family:
    """The family that a network with this text width belongs to; a named one of its own else."""
    return KNOWN.get(text_dim) or Family(f"sd-{text_dim}", text_dim=text_dim)
