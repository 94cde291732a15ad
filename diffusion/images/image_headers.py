"""Image formats by their bytes, read without decoding a pixel.

A file is refused before any decoder sees it when it is in no known format, cut short or too
large. Text, profiles and animation, which no node uses and which can hide a bomb, are left out
where the format allows. Suffixes and MIME types stand in `engine.files.image_formats`; a new
format is a row there and a row here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import features

from . import plugins
from .heif_header import read_avif, read_heic
from .image_limits import Header, ImageFileError, check_scans, check_size, damaged, unsupported
from .missing_end import JPEG_END_MARK, is_complete_jpeg, is_complete_png
from .stand_ins import name_stand_in
from .tiff_header import read_tiff

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# APNG's and all text chunks are left out; the default image of an APNG is its first frame.
PNG_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
PNG_OPTIONAL = {b"tRNS", b"eXIf"}
PNG_END = bytes.fromhex("0000000049454e44ae426082")

JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_COLOUR_TAG, JPEG_EXIF = 0xEE, 0xE1
JPEG_LEFT_OUT = (frozenset(range(0xE0, 0xF0)) - {0xE0, JPEG_EXIF, JPEG_COLOUR_TAG}) | {0xFE}

GIF_EXTENSION, GIF_FRAME, GIF_END = 0x21, 0x2C, 0x3B
GIF_CONTROL = 0xF9
MAX_GIF_BLOCKS = 2**22
MAX_WEBP_CHUNKS = 2**16

BMP_FILE_HEADER_BYTES = 14
BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
BMP_PLAIN = (0, 3)

# Kinds of files that people try, for the message.
OTHER_KINDS = {
    "a PSD": rb"8BPS",
    "a PDF": rb"%PDF",
    "a PostScript file": rb"%!PS",
    "an SVG or other markup": rb"\s*<",
    "a JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "an OpenEXR": rb"v/1\x01",
    "a video": rb"....ftyp|\x1a\x45\xdf\xa3",
    "a ZIP archive": rb"PK\x03\x04",
    "a BigTIFF": rb"II\+\0|MM\0\+",
}


def read_header(data: bytes) -> Header:
    """Read format and size, and check that the file is complete.

    Raises:
        ImageFileError: it is in no known format, cut short, or has more than MAX_PIXELS.
    """
    reader = _reader_of(data)
    if reader is None:
        raise ImageFileError(f"a {list_names()} image", *_other_kind(data))
    _check_support(reader)
    header = reader.read(data)
    check_size(header.width, header.height)
    return header


def identify(data: bytes) -> str:
    """Return the name of the format that a file starts like; empty if it is none."""
    reader = _reader_of(data)
    return "" if reader is None else reader.name


def list_names() -> str:
    """Return the names of the formats for a message: `PNG, JPEG or WebP`."""
    *names, last = (reader.name for reader in READERS)
    return f"{', '.join(names)} or {last}"


def _reader_of(data: bytes) -> FormatReader | None:
    return next((reader for reader in READERS if re.match(reader.magic, data, re.DOTALL)), None)


def _check_support(reader: FormatReader) -> None:
    if reader.needs and not features.check(reader.needs):
        raise unsupported(reader.name, "one, which the installed Pillow cannot decode")
    if reader.plugin and not plugins.load(reader.plugin):
        package = reader.plugin.package
        raise ImageFileError(
            f"a {list_names()} image",
            f"a {reader.name}, which only {package} decodes",
            f"pip install {package}, or save the image as PNG or JPEG",
        )


def _other_kind(data: bytes) -> tuple[str, str]:
    """Return the kind of a file that is not read, and what to do."""
    if not data:
        return "an empty file", "copy it again"
    if stand_in := name_stand_in(data):
        return stand_in
    for name, magic in OTHER_KINDS.items():
        if re.match(magic, data, re.DOTALL):
            return name, "open it in the program that made it, and save an image as PNG or JPEG"
    return "a file of another kind", "save it as PNG or JPEG"


def _read_png(data: bytes) -> Header:
    chunks, position, size = [PNG_MAGIC], len(PNG_MAGIC), (0, 0)
    while True:
        rest = data[position : position + len(PNG_END)]
        if len(rest) < len(PNG_END) and PNG_END.startswith(rest):
            return _read_png_without_end(chunks, *size)
        if len(rest) < 8:
            raise damaged("PNG", "it ends before its end mark")
        length, kind = struct.unpack(">I4s", rest[:8])
        end = position + 12 + length
        if end > len(data):
            raise damaged("PNG", f"chunk {kind.decode('latin-1')!r} is cut short")
        if len(chunks) == 1:
            if kind != b"IHDR" or length != 13:
                raise damaged("PNG", "it has no header")
            size = struct.unpack(">II", data[position + 8 : position + 16])
        is_sound = kind not in PNG_OPTIONAL or _has_its_checksum(data[position + 4 : end])
        if kind in PNG_NEEDED and is_sound:
            chunks.append(data[position:end])
        if kind == b"IEND":
            return Header("PNG", *size, b"".join(chunks))
        position = end


def _read_png_without_end(chunks: list[bytes], width: int, height: int) -> Header:
    """Read a PNG that ends before or within its end mark."""
    data = b"".join((*chunks, PNG_END))
    check_size(width, height)
    if not is_complete_png(data, width, height):
        raise damaged("PNG", "it ends before its end mark")
    return Header("PNG", width, height, data)


def _has_its_checksum(chunk: bytes) -> bool:
    """Return whether a PNG chunk (kind, content, checksum) has the checksum of its content."""
    return zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:], "big")


def _read_jpeg(data: bytes) -> Header:
    segments: list[bytes] = []
    scans: list[bytes] = []
    frame, size, marker = b"", (0, 0), JPEG_START
    for marker, start, end in jpeg_segments(data):
        segment = data[start:end]
        if marker in JPEG_FRAMES:
            if frame or len(segment) < 10:
                raise damaged("JPEG", "its frame header is broken")
            frame, (height, width) = segment, struct.unpack(">HH", segment[5:9])
            size = (width, height)
        if marker == JPEG_SCAN:
            scans.append(segment)
            if not frame:
                raise damaged("JPEG", "it has no frame header")
        check_scans("JPEG", len(scans))
        if marker not in JPEG_LEFT_OUT:
            segments.append(segment)
    if not frame:
        raise damaged("JPEG", "it has no image in it")
    if marker != JPEG_END:
        check_size(*size)
        if not is_complete_jpeg(segments, frame, scans, *size):
            raise damaged("JPEG", "it ends before its end mark")
        segments.append(JPEG_END_MARK)
    return Header("JPEG", *size, b"".join(segments))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment, entropy-coded data included.

    Ends with the end mark, so that what follows it (other images of an MPO) is not seen, or with
    the data of a scan that nothing follows.
    """
    position = 0
    while True:
        match = JPEG_MARKER.search(data, position)
        if match is None:
            raise damaged("JPEG", "it ends before its end mark")
        marker, start, position = match.group(1)[0], match.end() - 2, match.end()
        if marker not in (JPEG_START, JPEG_END):
            length = int.from_bytes(data[position : position + 2], "big")
            position += length
            if length < 2 or position > len(data):
                raise damaged("JPEG", "a segment is cut short")
        if marker == JPEG_SCAN:
            match = JPEG_MARKER.search(data, position)
            if match is None:
                yield marker, start, len(data.rstrip(b"\xff"))
                return
            position = match.start()
        yield marker, start, position
        if marker == JPEG_END:
            return


def _read_webp(data: bytes) -> Header:
    data = _padded_webp(data)
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or len(data) < 30:
        raise damaged("WebP", "it is shorter than it says")
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
        raise damaged("WebP", "it has no header")
    return Header("WebP", width, height, data[:end])


def _padded_webp(data: bytes) -> bytes:
    """Return a WebP with the byte that makes its last chunk even.

    Some writers leave it out of the file, or of the size that the file states.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    even_end = end + end % 2
    is_missing = end % 2 == 1 or even_end > len(data)
    if not is_missing or even_end > len(data) + 1:
        return data
    position = 12
    for _ in range(MAX_WEBP_CHUNKS):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
        if position >= even_end:
            break
    if position != even_end or size % 2 == 0:
        return data
    return data[:4] + (even_end - 8).to_bytes(4, "little") + data[8 : even_end - 1] + b"\0"


def _read_gif(data: bytes) -> Header:
    """Read a GIF to its end, and leave in it the first frame alone."""
    if len(data) < 13:
        raise damaged("GIF", "it has no header")
    width, height = struct.unpack("<HH", data[6:10])
    position = 13 + _gif_palette_bytes(data[10])
    screen, control, frame = data[:position], b"", b""
    for kind, start, end in _gif_blocks(data, position):
        if kind == GIF_EXTENSION and data[start + 1] == GIF_CONTROL and not frame:
            control = data[start:end]
        if kind == GIF_FRAME and not frame:
            frame = data[start:end]
            left, top, frame_width, frame_height = struct.unpack("<4H", frame[1:9])
            width, height = max(width, left + frame_width), max(height, top + frame_height)
    if not frame:
        raise damaged("GIF", "it has no image in it")
    return Header("GIF", width, height, b"".join((screen, control, frame, bytes([GIF_END]))))


def _gif_blocks(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and end of each extension and frame, up to the end mark or the end."""
    steps = 0
    while position != len(data) and data[position : position + 1] != bytes([GIF_END]):
        start, kind = position, next(iter(data[position : position + 1]), None)
        if kind == GIF_EXTENSION:
            position += 2
        elif kind == GIF_FRAME and len(data) > position + 10:
            position += 11 + _gif_palette_bytes(data[position + 9])
        else:
            raise damaged("GIF", "it ends before its end mark")
        length = 1
        while length:
            steps += 1
            if position >= len(data) or steps > MAX_GIF_BLOCKS:
                short = position >= len(data)
                raise damaged("GIF", "a block is cut short" if short else "it has too many blocks")
            length = data[position]
            position += 1 + length
        yield kind, start, position


def gif_kinds(data: bytes) -> Iterator[int]:
    """Yield the kind of each extension and frame of a GIF."""
    for kind, _, _ in _gif_blocks(data, 13 + _gif_palette_bytes(data[10])):
        yield kind


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _read_bmp(data: bytes) -> Header:
    header_bytes = int.from_bytes(data[14:18], "little")
    if header_bytes not in BMP_HEADER_BYTES or len(data) < BMP_FILE_HEADER_BYTES + header_bytes:
        raise damaged("BMP", "it has no header")
    if header_bytes == 12:
        width, height, _, bits = struct.unpack("<4H", data[18:26])
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack("<IiHHI", data[18:34])
    if compression not in BMP_PLAIN:
        raise unsupported("BMP", f"one with compression {compression}")
    check_size(width, abs(height))
    start = int.from_bytes(data[10:14], "little")
    first = BMP_FILE_HEADER_BYTES + header_bytes
    end = start + (width * bits + 31) // 32 * 4 * abs(height)
    if start < first or (start == first and bits <= 8) or end > len(data):
        raise damaged("BMP", "its pixels are cut short")
    return Header("BMP", width, abs(height), data[:end])


class FormatReader(NamedTuple):
    """Recognises and checks the files of a format.

    Attributes:
        name: the name of the format in `engine.files.image_formats`.
        magic: a pattern that its files start with.
        read: reads the header of a file that starts so; raises ImageFileError.
        needs: what Pillow must be built with, in the words of `PIL.features`.
        plugin: the package that decodes it, where Pillow does not.
    """

    name: str
    magic: bytes
    read: Callable[[bytes], Header]
    needs: str = ""
    plugin: plugins.Plugin | None = None


READERS = (
    FormatReader("PNG", re.escape(PNG_MAGIC), _read_png),
    FormatReader("JPEG", rb"\xff\xd8\xff", _read_jpeg),
    FormatReader("WebP", rb"RIFF....WEBP", _read_webp, "webp"),
    FormatReader("GIF", rb"GIF8[79]a", _read_gif),
    FormatReader("BMP", rb"BM", _read_bmp),
    FormatReader("TIFF", rb"II\*\0|MM\0\*", read_tiff, "libtiff"),
    FormatReader("AVIF", rb"....ftyp(avif|avis|(mif1|msf1)(?=.{4,64}?avi[fs]))", read_avif, "avif"),
    FormatReader("HEIC", rb"....ftyp(hei|hev|mif|msf)", read_heic, plugin=plugins.HEIF),
)
