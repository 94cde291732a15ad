"""Model families: the numbers that distinguish them and that sampling needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Prediction = Literal["eps", "v", "x0", "edm", "lcm", "img_to_img", "flow"]
SizeInputs = Literal["none", "sizes", "score"]


@dataclass(frozen=True)
class Family:
    """Models whose networks work together.

    Attributes:
        name: unique name; networks of one name can be combined.
        latent_channels: channels of a latent.
        latent_scale: factor from VAE space to the space that the network samples in.
        text_dim: width of the text encoding.
        prediction: what the network predicts.
        zsnr: the highest sigma of the schedule leaves no signal (zero terminal SNR).
        native_size: width and height in pixels that the model was trained at.
        vae_factor: width and height in pixels of one latent cell.
        in_channels: input channels of the network: those of a latent; for editing, those of an
            image's latent too; for inpainting, a mask and the masked image's latent too.
        size_inputs: extra conditioning of the network: none; image and crop sizes (SDXL); sizes
            and an aesthetic score (SDXL's refiner).
        sigma_range: lowest and highest sigma of a model that takes any sigma between them.
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
    sigma_range: tuple[float, float] | None = None

    @property
    def is_edit_model(self) -> bool:
        """True if the network takes an image next to the noisy latent, as InstructPix2Pix does."""
        return self.in_channels == 2 * self.latent_channels

    def to_model(self, latent: Tensor) -> Tensor:
        """Return latents of VAE space in the space that the network samples in."""
        return latent * self.latent_scale

    def to_vae(self, latent: Tensor) -> Tensor:
        """Return latents that the network sampled in VAE space; the inverse of `to_model`."""
        return latent / self.latent_scale


SD15 = Family("sd15")
SD21 = Family("sd21", text_dim=1024)
SDXL = Family("sdxl", latent_scale=0.13025, text_dim=2048, native_size=1024, size_inputs="sizes")
REFINER = Family(
    "sdxl-refiner", latent_scale=0.13025, text_dim=1280, native_size=1024, size_inputs="score"
)
FAMILY_BY_TEXT_DIM = {family.text_dim: family for family in (SD15, SD21, SDXL, REFINER)}

# The family name of an autoencoder in a separate file, whose keys do not say its family.
ANY_FAMILY = "any"

# Families that share the latent space of another family.
LATENT_SPACES = {"sd21": "sd15", "sdxl-refiner": "sdxl"}


def family_for(text_dim: int) -> Family:
    """Return the known family of networks with this text width, or a new one named after it."""
    return FAMILY_BY_TEXT_DIM.get(text_dim) or Family(f"sd-{text_dim}", text_dim=text_dim)


def latent_space(name: str) -> str:
    """Return the name of the family whose latent space, and so whose VAE, a family uses."""
    return LATENT_SPACES.get(name, name)
