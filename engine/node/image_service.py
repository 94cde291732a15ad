# ruff: noqa: ARG002 - the base class takes what its subclasses use
"""Image files as a server needs them. The engine decodes no images; a pack of nodes does."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PartComparison:
    """The difference of a part of two images, in 8-bit levels.

    Attributes:
        pixels, changed: number of pixels, and of those whose colour differs.
        psnr_db: peak signal to noise ratio; 200 if no pixel differs.
        ssim: mean structural similarity of luma; None for a part that is too small.
        delta_e: mean CIEDE2000.
    """

    pixels: int
    changed: int
    psnr_db: float
    ssim: float | None
    delta_e: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageComparison:
    """The difference of two images of one size.

    Attributes:
        inside, outside: of the parts that a mask covers and does not; None without a mask, or
            for an empty part.
        max_levels: the largest difference of a value, alpha included, of 255.
        alpha_changed: number of pixels whose alpha differs.
        grid: mean CIEDE2000 of rectangles, row by row.
        heat: an image of the differences.
    """

    width: int
    height: int
    everything: PartComparison
    inside: PartComparison | None
    outside: PartComparison | None
    max_levels: int
    alpha_changed: int
    grid: Sequence[Sequence[float]]
    heat: EncodedImage


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

    def encode(self, value: object) -> list[bytes] | None:
        """Return the images of a node's output as PNG files; None for another value."""
        return None

    def shrink(self, data: bytes, side_px: int) -> EncodedImage:
        """Return a small JPEG of the image, whose longer side has at most so many pixels."""
        raise _unreadable()

    def compare(self, first: bytes, second: bytes, mask: bytes | None = None) -> ImageComparison:
        """Return the difference of two images of one size, also inside and outside a mask."""
        raise _unreadable()

    def preview(self, value: object, method: PreviewMethod) -> EncodedImage | None:
        """Return a small image of a node's intermediate value; None if it cannot be drawn."""
        return None


def image_service(registry: Registry) -> ImageService:
    """Return the image service of the last pack that has one; the base class if none has."""
    return [ImageService(), *registry.extensions(ImageService)][-1]


def _unreadable() -> InputError:
    return InputError("image", "a pack that reads images", "none")
