"""PNG files with 16 bits a channel, which Pillow cannot write in colour.

Source: PNG specification, third edition; filter "up" for all rows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from .image_limits import ImageFileError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES: Mapping[int, int] = {1: 0, 3: 2, 4: 6}
BIT_DEPTH, FILTER_UP = 16, 2


def encode_deep_png(image: Tensor, text: Mapping[str, str], level: int = 4) -> bytes:
    """Encode one image H×W×C as a PNG with 16 bits a channel; values are rounded.

    Args:
        text: text chunks to embed.
        level: compression level, 0 to 9.

    Raises:
        ImageFileError: the image has no pixels, or other than 1, 3 or 4 channels.
    """
    if image.ndim != 3 or image.shape[-1] not in COLOR_TYPES or 0 in image.shape:
        raise ImageFileError("an image H×W×1, 3 or 4", str(tuple(image.shape)))
    height, width, channels = image.shape
    values = image.float().nan_to_num(0.0, 1.0, 0.0).clamp(0.0, 1.0).cpu().numpy()
    rows = np.rint(values.astype(np.float64) * 65535).astype(">u2").reshape(height, -1)
    raw = rows.view(np.uint8)
    filtered = np.empty((height, raw.shape[1] + 1), np.uint8)
    filtered[:, 0] = FILTER_UP
    filtered[0, 1:] = raw[0]
    np.subtract(raw[1:], raw[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, BIT_DEPTH, COLOR_TYPES[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *(_text(key, value) for key, value in text.items())]
    chunks += [_chunk(b"IDAT", zlib.compress(filtered.tobytes(), level)), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(key: str, value: str) -> bytes:
    """Return a chunk tEXt, or iTXt for what Latin-1 does not hold."""
    name = key.encode("latin-1", "replace")
    try:
        return _chunk(b"tEXt", name + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", name + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))
