"""What the bytes of a PNG, JPEG or WebP file say, read without decoding them.

A file is refused before any decoder sees it when it is none of the three, cut short or too large,
and text, profiles and animation, which no node uses and which can hide a bomb, are left out.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UnsuitableValueError

MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# APNG's and all text chunks are left out; the default image of an APNG is its first frame.
PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
PNG_OPTIONAL = {b"tRNS", b"eXIf"}

JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_COLOUR_TAG, JPEG_EXIF = 0xEE, 0xE1
JPEG_LEFT_OUT = (frozenset(range(0xE0, 0xF0)) - {0xE0, JPEG_EXIF, JPEG_COLOUR_TAG}) | {0xFE}


class ImageFileError(UnsuitableValueError):
    """A file that cannot be used as an image."""


@dataclass(frozen=True)
class Header:
    """An image file: its format and size, and the bytes that a decoder needs."""

    format: str
    width: int
    height: int
    data: bytes


def read_header(data: bytes) -> Header:
    """Read format and size, and check that the file is whole.

    Raises:
        ImageFileError: not a PNG, JPEG or WebP; cut short; or more than MAX_PIXELS.
    """
    if data.startswith(PNG_MAGIC):
        header = _read_png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        header = _read_jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _read_webp(data)
    else:
        raise ImageFileError("a PNG, JPEG or WebP image", _kind(data))
    check_size(header.width, header.height)
    return header


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


def _kind(data: bytes) -> str:
    if not data:
        return "an empty file"
    known = {b"GIF8": "a GIF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"BM": "a BMP"}
    known |= {b"8BPS": "a PSD", b"%PDF": "a PDF", b"%!PS": "a PostScript file", b"<": "markup"}
    found = [name for magic, name in known.items() if data.lstrip().startswith(magic)]
    return found[0] if found else "a file of another kind"


def _cut(format: str, detail: str) -> ImageFileError:
    return ImageFileError(f"a whole {format} file", f"a damaged one: {detail}", "copy it again")


def _read_png(data: bytes) -> Header:
    kept, place, size = [PNG_MAGIC], len(PNG_MAGIC), (0, 0)
    while True:
        head = data[place : place + 8]
        if len(head) < 8:
            raise _cut("PNG", "it ends before its end mark")
        length, kind = struct.unpack(">I4s", head)
        end = place + 12 + length
        if end > len(data):
            raise _cut("PNG", f"chunk {kind.decode('latin-1')!r} is cut short")
        if len(kept) == 1:
            if kind != b"IHDR" or length != 13:
                raise _cut("PNG", "it has no header")
            size = struct.unpack(">II", data[place + 8 : place + 16])
        if kind in PNG_KEPT and (kind not in PNG_OPTIONAL or _sound(data[place + 4 : end])):
            kept.append(data[place:end])
        if kind == b"IEND":
            return Header("PNG", *size, b"".join(kept))
        place = end


def _sound(chunk: bytes) -> bool:
    """Whether a PNG chunk (kind, content, checksum) has the checksum of its content."""
    return zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:], "big")


def _read_jpeg(data: bytes) -> Header:
    kept: list[bytes] = []
    size: tuple[int, int] | None = None
    for marker, start, end in _jpeg_segments(data):
        if marker in JPEG_FRAMES:
            if size is not None or end - start < 9:
                raise _cut("JPEG", "its frame header is broken")
            height, width = struct.unpack(">HH", data[start + 5 : start + 9])
            size = (width, height)
        if marker == JPEG_SCAN and size is None:
            raise _cut("JPEG", "it has no frame header")
        if marker not in JPEG_LEFT_OUT:
            kept.append(data[start:end])
    if size is None:
        raise _cut("JPEG", "it has no image in it")
    return Header("JPEG", *size, b"".join(kept))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Markers with the places where their segments, entropy-coded data included, start and end.

    Ends with the end mark, so that what follows it (other images of an MPO) is not seen.
    """
    place = 0
    while True:
        found = JPEG_MARKER.search(data, place)
        if found is None:
            raise _cut("JPEG", "it ends before its end mark")
        marker, start, place = found.group(1)[0], found.end() - 2, found.end()
        if marker not in (JPEG_START, JPEG_END):
            length = int.from_bytes(data[place : place + 2], "big")
            place += length
            if length < 2 or place > len(data):
                raise _cut("JPEG", "a segment is cut short")
        if marker == JPEG_SCAN:
            found = JPEG_MARKER.search(data, place)
            if found is None:
                raise _cut("JPEG", "it ends before its end mark")
            place = found.start()
        yield marker, start, place
        if marker == JPEG_END:
            return


def _read_webp(data: bytes) -> Header:
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or len(data) < 30:
        raise _cut("WebP", "it ends before its end")
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", body[6:10]))
    else:
        raise _cut("WebP", "it has no header")
    return Header("WEBP", width, height, data[:end])
