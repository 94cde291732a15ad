"""IMAGE tensors as PNG, WebP or JPEG files, with the graph that made them inside."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Literal

from PIL import Image as Pillow
from torch import Tensor

from .image_limits import ImageFileError
from .images import encode_png, to_pillow
from .transcode import MAX_JPEG_SIDE_PX, MAX_WEBP_SIDE_PX

EncodedFormat = Literal["png", "webp", "jpeg"]
MAX_SIDES_PX: Mapping[str, int] = {"webp": MAX_WEBP_SIDE_PX, "jpeg": MAX_JPEG_SIDE_PX}
MAX_JPEG_TEXT_BYTES = 65_000
"""A JPEG's EXIF is one segment of 64 KiB, with its own header."""
FIRST_TAG = 0x0110
"""The tag of the first text, as ComfyUI writes it; the next ones have the tags below."""


def encode(
    image: Tensor,
    format: EncodedFormat,
    text: Mapping[str, str],
    *,
    quality: int = 90,
    level: int = 4,
) -> bytes:
    """Encode one image H×W×C; texts are chunks of a PNG, and tags `key:text` of EXIF elsewhere.

    A JPEG holds 64 KiB of text: what does not fit is left out, if one text fits.

    Args:
        quality: of JPEG and WebP, 1 to 100; 100 makes WebP lossless.
        level: the compression of PNG, 0 to 9.

    Raises:
        ImageFileError: the image is too large for the format, or no text fits.
    """
    if format == "png":
        return encode_png(image, text, level)
    height, width = image.shape[:2]
    limit = MAX_SIDES_PX[format]
    if max(height, width) > limit:
        expected = f"images of at most {limit} pixels a side for {format}"
        raise ImageFileError(expected, f"{width}×{height}", "use png")
    pillow, options = to_pillow(image), {"quality": quality}
    if format == "jpeg":
        pillow, text = pillow.convert("RGB"), _fitting(text)
    elif quality == 100:
        options |= {"lossless": True}
    sink = io.BytesIO()
    pillow.save(sink, format.upper(), **options, **_exif(text))
    return sink.getvalue()


def _fitting(text: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    left = MAX_JPEG_TEXT_BYTES
    for key, value in text.items():
        size = len(key) + len(value.encode("utf-8", "replace")) + 16
        if size <= left:
            chosen[key] = value
            left -= size
    if text and not chosen:
        size = min(len(value) for value in text.values())
        expected = f"a graph of at most {MAX_JPEG_TEXT_BYTES} bytes for jpeg"
        raise ImageFileError(expected, f"{size} bytes", "use webp or png, or --no-metadata")
    return chosen


def _exif(text: Mapping[str, str]) -> dict[str, Any]:
    if not text:
        return {}
    exif = Pillow.Exif()
    for index, (key, value) in enumerate(text.items()):
        exif[FIRST_TAG - index] = f"{key}:{value}".encode("utf-8", "replace")
    return {"exif": exif.tobytes()}
