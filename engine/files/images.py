"""What a server needs of images; the engine knows none, so that whoever does registers here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import InputError

PreviewMethod = Literal["auto", "latent2rgb", "taesd"]
"""How what is on its way is drawn, in ComfyUI's words."""
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
"""What image files are called."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file: its bytes and their MIME type."""

    data: bytes
    mime: str


class ImageService(Protocol):
    """Reads, checks and changes image files. Each method raises InputError on a bad one."""

    def clean(self, data: bytes) -> EncodedImage:
        """The file with nothing in it but what a decoder needs; its pixels are decoded once."""
        ...

    def converted(self, data: bytes, kind: str, quality: int) -> EncodedImage:
        """The image as `webp` or `jpeg` of a quality from 1 to 100."""
        ...

    def channel(self, data: bytes, channel: str) -> EncodedImage:
        """A PNG: `rgb` without alpha, or `a`, black with the image's alpha."""
        ...

    def with_alpha_of(self, original: bytes, mask: bytes) -> EncodedImage:
        """A PNG of the original with the alpha of another image; its text is kept."""
        ...

    def preview(self, value: object, method: PreviewMethod) -> EncodedImage | None:
        """What a node shows on its way, as a small image; None where that is not known."""
        ...


_registered: list[ImageService] = []


def register(images: ImageService) -> None:
    """Use these from now on."""
    _registered[:] = [images]


def images() -> ImageService:
    """Those that were registered.

    Raises:
        InputError: no pack of nodes brings any.
    """
    if not _registered:
        raise InputError("image", "a pack that reads images", "none")
    return _registered[0]
