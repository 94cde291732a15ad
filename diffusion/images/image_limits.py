"""The limits of image files, the errors of reading them, and the record of a checked file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from ..errors import UnsuitableValueError

MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20
MAX_JPEG_SCANS = 100
"""Encoders write up to 14; each costs the decoder a pass over all pixels."""

# What Pillow raises on damaged data; warnings count where they are made errors.
DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Warning,
    Image.DecompressionBombError,
)


class ImageFileError(UnsuitableValueError):
    """A file that cannot be used as an image."""


@dataclass(frozen=True, slots=True)
class Header:
    """A checked image file.

    Attributes:
        format: name of its format, such as `WebP`.
        width: pixels of a row, before the file's orientation is applied.
        height: rows of pixels.
        data: the bytes that a decoder needs.
    """

    format: str
    width: int
    height: int
    data: bytes


def check_size(width: int, height: int) -> None:
    """Refuse an image of no pixels, or of more than MAX_PIXELS.

    Raises:
        ImageFileError: it is.
    """
    if width < 1 or height < 1:
        raise ImageFileError("an image with pixels", f"one of {width}×{height}")
    if width * height > MAX_PIXELS:
        raise ImageFileError(
            f"an image of at most {MAX_PIXELS / 1e6:g} megapixels",
            f"{width}×{height} ({width * height / 1e6:.1f} megapixels)",
            "make it smaller first",
        )


def check_scans(format: str, scans: int) -> None:
    """Refuse JPEG data of more than MAX_JPEG_SCANS scans.

    Raises:
        ImageFileError: it has more.
    """
    if scans > MAX_JPEG_SCANS:
        raise unsupported(format, f"one of more than {MAX_JPEG_SCANS} scans")


def damaged(format: str, detail: str) -> ImageFileError:
    """Return the error of a file that is cut short, or contradicts itself."""
    return ImageFileError(f"a complete {format} file", f"a damaged one: {detail}", "copy it again")


def unsupported(format: str, detail: str) -> ImageFileError:
    """Return the error of a sound file of a rare kind that is not read."""
    return ImageFileError(f"a common kind of {format}", detail, "save it as PNG")
