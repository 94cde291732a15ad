"""Image files in: checked before decoding, first frame, upright. No torch here.

What an image means is in its pixels and its orientation; colour profiles are not applied.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from .image_headers import list_names, read_header
from .image_limits import DECODE_ERRORS, MAX_BYTES, Header, ImageFileError, check_size
from .plugins import pillow_name

Read = Callable[[Path, int], bytes]


def read_all(path: Path, _max_bytes: int) -> bytes:
    """Return the content of a file."""
    return path.read_bytes()


def check_file(path: Path, read: Read = read_all) -> Header:
    """Read and check an image file without decoding it.

    Args:
        read: gives the content of a file of at most so many bytes, raising
            OSError.

    Raises:
        ImageFileError: it is missing, in no known format, cut short or too large.
    """
    expected = f"a {list_names()} image"
    try:
        if not path.exists():
            raise ImageFileError(expected, f"{path.name!r}, which does not exist")
        if not path.is_file():
            raise ImageFileError(expected, f"{path.name!r}, which is not a file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            got = f"{size / 2**20:.0f} MiB"
            raise ImageFileError(f"an image file of at most {MAX_BYTES // 2**20} MiB", got)
        data = read(path, MAX_BYTES)
    except OSError as error:
        raise ImageFileError(expected, f"{path.name!r}: {error.strerror or error}") from error
    return read_header(data)


def read_image(path: Path, read: Read = read_all) -> Image.Image:
    """Decode an image file: its first frame, turned upright, in the mode that the file has.

    Raises:
        ImageFileError: as check_file, or its pixels are damaged.
    """
    return decode(check_file(path, read))


def decode(header: Header) -> Image.Image:
    """Decode a file that is in memory and checked, as `read_image` does.

    Raises:
        ImageFileError: its pixels are damaged.
    """
    return _upright(_open(header, decodes=True))


def _open(header: Header, *, decodes: bool = False) -> Image.Image:
    expected = f"a {header.format} image that can be decoded"
    try:
        image = Image.open(io.BytesIO(header.data), formats=(pillow_name(header.format),))
        check_size(*image.size)
        if decodes:
            image.load()
    except ImageFileError:
        raise
    except UnidentifiedImageError as error:
        got = "one of a kind that Pillow does not read"
        raise ImageFileError(expected, got, "save it as PNG") from error
    except DECODE_ERRORS as error:
        raise ImageFileError(expected, f"a damaged one: {error}", "save it again") from error
    return image


def has_mask(header: Header) -> bool:
    """Return whether a checked file has transparency, without decoding its pixels.

    Raises:
        ImageFileError: Pillow cannot open it.
    """
    return _open(header).has_transparency_data


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF orientation says; unreadable EXIF says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except DECODE_ERRORS:
        return image
