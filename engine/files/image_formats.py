"""The image formats: names, MIME types, suffixes, and who can use the files.

How the bytes of each are checked stands in `diffusion.images.image_headers`; a test holds the two
tables to the same names. A new format is a row here and a row there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat:
    """A format of image files that this project reads.

    Attributes:
        name: as messages write it.
        suffixes: in lower case; a file without one of them gets the first.
        is_shown_by_browsers: False where a server converts the file before it shows it.
        may_carry_graph: its files may hold the graph that made them.
    """

    name: str
    mime: str
    suffixes: tuple[str, ...]
    is_shown_by_browsers: bool = True
    may_carry_graph: bool = False


IMAGE_FORMATS = (
    ImageFormat(name="PNG", mime="image/png", suffixes=(".png",), may_carry_graph=True),
    ImageFormat(
        name="JPEG", mime="image/jpeg", suffixes=(".jpg", ".jpeg", ".jfif"), may_carry_graph=True
    ),
    ImageFormat(name="WebP", mime="image/webp", suffixes=(".webp",), may_carry_graph=True),
    ImageFormat(name="GIF", mime="image/gif", suffixes=(".gif",)),
    ImageFormat(name="BMP", mime="image/bmp", suffixes=(".bmp",)),
    ImageFormat(
        name="TIFF", mime="image/tiff", suffixes=(".tif", ".tiff"), is_shown_by_browsers=False
    ),
    ImageFormat(name="AVIF", mime="image/avif", suffixes=(".avif",), may_carry_graph=True),
    ImageFormat(
        name="HEIC", mime="image/heic", suffixes=(".heic", ".heif"), is_shown_by_browsers=False
    ),
)
IMAGE_SUFFIXES = tuple(suffix for row in IMAGE_FORMATS for suffix in row.suffixes)


def is_image_name(name: str | PurePath) -> bool:
    """Return whether a file is called like an image.

    >>> is_image_name("a/b.JPG"), is_image_name("b.json")
    (True, False)
    """
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def format_of_file(name: str | PurePath) -> ImageFormat | None:
    """Return the format that a name stands for by its suffix; None if it is not an image's."""
    suffix = PurePath(name).suffix.lower()
    return next((format for format in IMAGE_FORMATS if suffix in format.suffixes), None)


def format_named(name: str) -> ImageFormat:
    """Return the format of a name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]


def format_of_mime(mime: str) -> ImageFormat:
    """Return the format of a MIME type.

    Raises:
        KeyError: there is none.
    """
    return _BY_MIME[mime]


def list_names(last: str = "or") -> str:
    """Return the names of all formats for a message.

    >>> list_names("and")
    'PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF and HEIC'
    """
    *names, final = _BY_NAME
    return f"{', '.join(names)} {last} {final}"


_BY_NAME = {row.name: row for row in IMAGE_FORMATS}
_BY_MIME = {row.mime: row for row in IMAGE_FORMATS}
