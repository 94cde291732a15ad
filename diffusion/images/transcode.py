"""Images for a server: checked, cleaned, converted. No torch here."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, PngImagePlugin

from .image_files import DECODE_ERRORS, decode
from .image_headers import read_header

MIME = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
MAX_TEXT = 2**22


def clean(data: bytes) -> tuple[bytes, str]:
    """The bytes that a decoder needs, and their MIME type; text, profiles and what follows go.

    Raises:
        ImageFileError: no PNG, JPEG or WebP that can be decoded, or too large a one.
    """
    header = read_header(data)
    decode(header)
    return header.data, MIME[header.format]


def convert(data: bytes, kind: str, quality: int) -> tuple[bytes, str]:
    """The image as `webp` or `jpeg`."""
    image = decode(read_header(data))
    if kind == "jpeg":
        return _encoded(image.convert("RGB"), "JPEG", quality=quality), MIME["JPEG"]
    return _encoded(image.convert(_colour(image)), "WEBP", quality=quality), MIME["WEBP"]


def channel(data: bytes, name: str) -> tuple[bytes, str]:
    """A PNG of the colours (`rgb`), or of the alpha on black (`a`)."""
    image = decode(read_header(data))
    if name == "rgb":
        return _encoded(image.convert("RGB"), "PNG", compress_level=1), MIME["PNG"]
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    black.putalpha(image.convert("RGBA").getchannel("A"))
    return _encoded(black, "PNG", compress_level=1), MIME["PNG"]


def with_alpha_of(original: bytes, mask: bytes) -> tuple[bytes, str]:
    """A PNG of the original with the alpha of the other image, scaled to it if need be."""
    image = decode(read_header(original)).convert("RGBA")
    alpha = decode(read_header(mask)).convert("RGBA").getchannel("A")
    if alpha.size != image.size:
        alpha = alpha.resize(image.size, Image.Resampling.BILINEAR)
    image.putalpha(alpha)
    return _encoded(image, "PNG", pnginfo=_text(original), compress_level=4), MIME["PNG"]


def _colour(image: Image.Image) -> str:
    alpha = "A" in image.getbands() or "transparency" in image.info
    return "RGBA" if alpha else "RGB"


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def _text(data: bytes) -> PngImagePlugin.PngInfo:
    """The text chunks of a PNG, as far as they can be read; none of another file."""
    info = PngImagePlugin.PngInfo()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            found = {key: text for key, text in image.info.items() if isinstance(text, str)}
    except DECODE_ERRORS:
        return info
    for key, text in found.items():
        if isinstance(key, str) and len(text) <= MAX_TEXT:
            info.add_itxt(key, text)
    return info
