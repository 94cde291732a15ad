"""Images for a server: checked, cleaned, converted. No torch here."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from PIL import Image, PngImagePlugin

from .image_files import decode
from .image_headers import read_header
from .image_limits import DECODE_ERRORS, ImageFileError

MAX_TEXT_LENGTH = 2**22
MAX_WEBP_SIDE_PX = 16_383
MAX_JPEG_SIDE_PX = 65_500
# PNG stores any size that is decoded here.
_MAX_SIDES_PX = {"WebP": MAX_WEBP_SIDE_PX, "JPEG": MAX_JPEG_SIDE_PX}


class Encoded(NamedTuple):
    """An image file: its bytes and the name of its format."""

    data: bytes
    format: str


def clean(data: bytes) -> Encoded:
    """Return the bytes that a decoder needs; text, profiles and what follows go.

    Raises:
        ImageFileError: no image that can be decoded, or too large a one.
    """
    header = read_header(data)
    decode(header)
    return Encoded(header.data, header.format)


def convert(data: bytes, format: str, quality: int = 90) -> Encoded:
    """Return the image as PNG, JPEG or WebP, with 8 bits a channel.

    Args:
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ImageFileError: no image that can be decoded, or one that the format cannot store.
    """
    header = read_header(data)
    side, limit = max(header.width, header.height), _MAX_SIDES_PX.get(format)
    if limit is not None and side > limit:
        expected = f"an image of at most {limit} pixels a side for {format}"
        raise ImageFileError(expected, f"{header.width}×{header.height}", "use PNG")
    image = _decode_8_bit(data)
    if format == "PNG":
        return _encode(image, format, compress_level=1)
    return _encode(image.convert("RGB") if format == "JPEG" else image, format, quality=quality)


def shrink(data: bytes, side_px: int) -> Encoded:
    """Return a JPEG of the image, whose longer side has at most so many pixels.

    Raises:
        ImageFileError: no image that can be decoded.
    """
    image = _decode_8_bit(data).convert("RGB")
    image.thumbnail((side_px, side_px))
    return _encode(image, "JPEG", quality=85)


def extract_channel(data: bytes, name: str) -> Encoded:
    """Return a PNG of the colours (`rgb`), or of the alpha on black (`a`)."""
    image = _decode_8_bit(data)
    if name == "rgb":
        return _encode(image.convert("RGB"), "PNG", compress_level=1)
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    black.putalpha(image.convert("RGBA").getchannel("A"))
    return _encode(black, "PNG", compress_level=1)


def replace_alpha(original: bytes, mask: bytes) -> Encoded:
    """Return a PNG of the original with the alpha of the other image, scaled to it if need be."""
    image = _decode_8_bit(original).convert("RGBA")
    alpha = _decode_8_bit(mask).convert("RGBA").getchannel("A")
    if alpha.size != image.size:
        alpha = alpha.resize(image.size, Image.Resampling.BILINEAR)
    image.putalpha(alpha)
    return _encode(image, "PNG", pnginfo=_text(original), compress_level=4)


def _decode_8_bit(data: bytes) -> Image.Image:
    """Decode an image as RGB, or as RGBA where it has transparency; 16-bit grey is scaled."""
    image = decode(read_header(data))
    if image.mode.startswith("I"):
        image.info.pop("transparency", None)
        image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _encode(image: Image.Image, format: str, **options: Any) -> Encoded:
    sink = io.BytesIO()
    image.save(sink, format.upper(), **options)
    return Encoded(sink.getvalue(), format)


def _text(data: bytes) -> PngImagePlugin.PngInfo:
    """Return the text chunks of a PNG, as far as they can be read; none of another file."""
    info = PngImagePlugin.PngInfo()
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            chunks = {key: text for key, text in image.info.items() if isinstance(text, str)}
    except DECODE_ERRORS:
        return info
    for key, text in chunks.items():
        if isinstance(key, str) and len(text) <= MAX_TEXT_LENGTH:
            info.add_itxt(key, text)
    return info
