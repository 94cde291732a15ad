"""Image files for tests, made in memory: valid, unusual and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return a PNG chunk, with the correct checksum unless another is given."""
    right = zlib.crc32(kind + content)
    end = struct.pack(">I", right if checksum is None else checksum)
    return struct.pack(">I", len(content)) + kind + content + end


def insert(png: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with chunks inserted after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def bomb(width: int, height: int) -> bytes:
    """Return a valid 1-bit PNG of any size that is small on disk."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def sample(mode: str = "RGB", size: tuple[int, int] = (12, 7), seed: int = 0) -> Image.Image:
    """Return a noisy image."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(levels[..., 0] if channels == 1 else levels)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode an image as a file of this format."""
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def marked(size: tuple[int, int] = (16, 8)) -> Image.Image:
    """Return a black image whose top left quarter is white."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (0, 0, size[0] // 2, size[1] // 2))
    return image


def oriented(orientation: int, format: str = "JPEG") -> bytes:
    """Encode the marked image with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(marked(), format, exif=exif.tobytes())


def tiff(entries: list[bytes], values: bytes = b"") -> bytes:
    """Return a little-endian TIFF with these tags, and values from offset 8."""
    start = 8 + len(values)
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + values + table


def insert_tags(tags: dict[int, tuple[int, list[int]]], pixels: bytes = b"") -> bytes:
    """Return a valid uncompressed TIFF of 12×7 pixels with tags added or replaced.

    Args:
        tags: number -> type (3 for 16 bits, 4 for 32, 12 for 64) and values.
        pixels: the bytes from offset 8; by default those of the sample.
    """
    pixels = pixels or np.asarray(sample()).tobytes()
    table: dict[int, tuple[int, list[int]]] = {
        256: (3, [12]), 257: (3, [7]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2]),
        273: (4, [8]), 277: (3, [3]), 278: (3, [7]), 279: (4, [len(pixels)]), **tags,
    }  # fmt: skip
    entries, values = [], pixels
    for number, (kind, numbers) in sorted(table.items()):
        data = struct.pack(f"<{len(numbers)}{ {3: 'H', 4: 'I', 12: 'Q'}[kind] }", *numbers)
        if len(data) > 4:
            data, values = struct.pack("<I", 8 + len(values)), values + data
        entries.append(struct.pack("<HHI", number, kind, len(numbers)) + data.ljust(4, b"\0"))
    return tiff(entries, values)
