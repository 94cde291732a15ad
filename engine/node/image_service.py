# ruff: noqa: ARG002 - the base class takes what its subclasses use
"""Image files as a server needs them. The engine decodes no images; a pack of nodes does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import InputError
from .extension import Extension
from .registry import Registry

PreviewMethod = Literal["auto", "latent2rgb", "taesd"]
"""The method that draws previews, in ComfyUI's words."""
ImageKind = Literal["PNG", "JPEG", "WebP"]
"""The formats that images are converted to."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file: its bytes and their MIME type."""

    data: bytes
    mime: str


class ImageService(Extension):
    """Reads, checks and converts image files. This base class, without a pack, reads none.

    Each method that converts raises InputError for a file that it cannot read.
    """

    def clean(self, data: bytes) -> EncodedImage:
        """Return the file without metadata, after decoding its pixels once as a check."""
        raise _unreadable()

    def convert(self, data: bytes, kind: ImageKind, quality: int = 90) -> EncodedImage:
        """Return the image in a format; the quality, 1 to 100, is that of JPEG and WebP."""
        raise _unreadable()

    def make_viewable(self, data: bytes) -> EncodedImage | None:
        """Return an image that browsers show: the file itself, or a PNG of it.

        None for a file that does not start like an image. A file that browsers show is not
        checked any further.
        """
        return None

    def extract_channel(self, data: bytes, channel: str) -> EncodedImage:
        """Return a PNG: `rgb` without alpha, or `a`, black with the image's alpha."""
        raise _unreadable()

    def replace_alpha(self, original: bytes, mask: bytes) -> EncodedImage:
        """Return a PNG of the original with the alpha of another image; its text is kept."""
        raise _unreadable()

    def preview(self, value: object, method: PreviewMethod) -> EncodedImage | None:
        """Return a small image of a node's intermediate value; None if it cannot be drawn."""
        return None


def image_service(registry: Registry) -> ImageService:
    """Return the image service of the last pack that has one; the base class if none has."""
    return [ImageService(), *registry.extensions(ImageService)][-1]


def _unreadable() -> InputError:
    return InputError("image", "a pack that reads images", "none")
