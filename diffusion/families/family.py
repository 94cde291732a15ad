"""Model families: what tells them apart, and the figures that sampling needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Prediction = Literal["eps", "v", "x0", "edm", "lcm", "img_to_img", "flow"]
SizeInputs = Literal["none", "sizes", "score"]


@dataclass(frozen=True)
class Family:
    """Models whose parts fit each other.

    Attributes:
        name: what edges carry; parts of one name fit.
        latent_channels: C of a latent.
        latent_scale: what a latent is multiplied with on entry to sampling.
        text_dim: width of the text encoding.
        prediction: what the network gives.
        zsnr: the last noise level has no signal left.
        levels: the lowest and the highest noise level of a model that takes any between them.
        native_size: width and height in pixels that the model was trained at.
        vae_factor: pixels a latent cell is wide.
        in_channels: what the network sees: a latent's; for editing, those of an image too; for
            inpainting, those, a mask's and the masked image's.
        size_inputs: what the network is told beside the prompt: nothing; image and crop sizes
            (SDXL); sizes and an aesthetic score (SDXL's refiner).
    """

    name: str
    latent_channels: int = 4
    latent_scale: float = 0.18215
    text_dim: int = 768
    prediction: Prediction = "eps"
    zsnr: bool = False
    native_size: int = 512
    vae_factor: int = 8
    in_channels: int = 4
    size_inputs: SizeInputs = "none"
    levels: tuple[float, float] | None = None

    @property
    def edits(self) -> bool:
        """Whether its network sees an image beside the noisy latent, as InstructPix2Pix's."""
        return self.in_channels == 2 * self.latent_channels


SD15 = Family("sd15")
SD21 = Family("sd21", text_dim=1024)
SDXL = Family("sdxl", latent_scale=0.13025, text_dim=2048, native_size=1024, size_inputs="sizes")
REFINER = Family(
    "sdxl-refiner", latent_scale=0.13025, text_dim=1280, native_size=1024, size_inputs="score"
)
KNOWN = {family.text_dim: family for family in (SD15, SD21, SDXL, REFINER)}

# What an autoencoder in a file of its own goes by: its keys do not tell the family.
ANY = "any"

# Families whose latents mean the same: each with the one that gave the latents their name.
LATENT_SPACES = {"sd21": "sd15", "sdxl-refiner": "sdxl"}


def family_for(text_dim: int) -> Family:
    """The family that a network with this text width belongs to; a named one of its own else."""
    return KNOWN.get(text_dim) or Family(f"sd-{text_dim}", text_dim=text_dim)


def latent_space(name: str) -> str:
    """The family whose latents, and so whose autoencoders, a family shares."""
    return LATENT_SPACES.get(name, name)
