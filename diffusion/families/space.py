"""Latent spaces: what the numbers of a latent mean, shared by all families of one autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Factors = float | tuple[float, ...]
# Of a space whose layout is not known.
UNKNOWN_CHANNELS = 0


@dataclass(frozen=True)
class LatentSpace:
    """The latents of an autoencoder, and the same latents as a network samples them.

    Attributes:
        name: latents of one name can stand for each other; empty if only the shape is known.
        channels: of a latent.
        cell_px: width and height in pixels of one latent cell.
        scale: factor from VAE space to the space that the network samples in; one for all
            channels, or one for each.
        shift: what is subtracted before, in VAE space; one number or one for each channel.
        has_frames: a latent has an axis of frames after that of the channels: B×C×F×h×w.
        tiny_vae: name of the small autoencoder for previews; empty if there is none.
    """

    name: str
    channels: int = 4
    cell_px: int = 8
    scale: Factors = 0.18215
    shift: Factors = 0.0
    has_frames: bool = False
    tiny_vae: str = ""

    def read_scale(self) -> float:
        """Return the factor of all channels; 1 if each has its own."""
        return self.scale if isinstance(self.scale, float) else 1.0

    @property
    def axes(self) -> int:
        """The number of axes of a batch of latents."""
        return 5 if self.has_frames else 4

    def to_model(self, latent: Tensor) -> Tensor:
        """Return latents of VAE space in the space that the network samples in."""
        if self.shift == 0.0:
            return latent * self._factors(latent, self.scale)
        return (latent - self._factors(latent, self.shift)) * self._factors(latent, self.scale)

    def to_vae(self, latent: Tensor) -> Tensor:
        """Return latents that the network sampled in VAE space; the inverse of `to_model`."""
        if self.shift == 0.0:
            return latent / self._factors(latent, self.scale)
        return latent / self._factors(latent, self.scale) + self._factors(latent, self.shift)

    def _factors(self, latent: Tensor, factors: Factors) -> Tensor | float:
        """Return a number, or one for each channel that broadcasts against a latent."""
        if isinstance(factors, float):
            return factors
        return latent.new_tensor(factors).reshape(1, -1, *[1] * (latent.ndim - 2))

    def is_like(self, other: LatentSpace) -> bool:
        """Return True if latents of both can stand for each other, as far as is known."""
        if self.name and other.name:
            return self.name == other.name
        is_unknown = UNKNOWN_CHANNELS in (self.channels, other.channels)
        return is_unknown or self.layout == other.layout

    @property
    def layout(self) -> tuple[int, int, bool]:
        """Channels, pixels per cell, and True with an axis of frames."""
        return self.channels, self.cell_px, self.has_frames

    def describe(self) -> str:
        """Return the layout in words."""
        frames = " and an axis of frames" if self.has_frames else ""
        return f"{self.channels} channels, {self.cell_px} pixels per cell{frames}"


SD = LatentSpace("sd15", tiny_vae="taesd")
SDXL = LatentSpace("sdxl", scale=0.13025, tiny_vae="taesdxl")
SD3 = LatentSpace("sd3", channels=16, scale=1.5305, shift=0.0609)
FLUX = LatentSpace("flux", channels=16, scale=0.3611, shift=0.1159)
FLUX2 = LatentSpace("flux2", channels=128, cell_px=16, scale=1.0)
WAN_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
WAN = LatentSpace(
    "wan21", channels=16, scale=tuple(1 / std for std in WAN_STD), shift=WAN_MEAN, has_frames=True
)


def unnamed_space(channels: int, cell_px: int, has_frames: bool = False) -> LatentSpace:
    """Return the space of an autoencoder whose file does not say for which family it is."""
    return LatentSpace("", channels, cell_px, has_frames=has_frames)
