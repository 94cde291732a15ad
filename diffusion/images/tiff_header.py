"""TIFF files by their tags: the first page, with nothing in it but what describes its pixels.

A reader of TIFF follows offsets wherever they lead, so that a small file can ask for very much.
The page is copied into a new file: known tags of bounded length, and strips that do not overlap.
Source: TIFF 6.0 (Adobe, 1992).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from .image_limits import Header, check_scans, check_size, damaged, unsupported

MAX_TAGS = 4096
MAX_VALUE_BYTES = 2**20
MAX_SEGMENTS = 2**18
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
# Fill order, orientation, options of fax, predictor, colour map, extra samples, JPEG tables, YCbCr.
OTHER_TAGS = {266, 274, 292, 293, 317, 320, 338, 347, 530, 531, 532}
STRIP_TAGS = {STRIP_OFFSETS, STRIP_BYTES, STRIP_ROWS}
SEGMENT_TAGS = {STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES}
TAGS = OTHER_TAGS | SEGMENT_TAGS | {
    WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, STRIP_ROWS, PLANAR, TILE_WIDTH,
    TILE_LENGTH, SAMPLE_FORMAT,
}  # fmt: skip
# Plain, fax, LZW, JPEG, deflate, PackBits.
JPEG, JPEG_SCAN = 7, b"\xff\xda"
COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32946, 32773}
WHITE_IS_ZERO, LAB = 0, 8
PHOTOMETRICS = {WHITE_IS_ZERO, 1, 2, 3, 5, 6}
BYTE, SHORT, LONG, RATIONAL, BYTES = 1, 3, 4, 5, 7
LETTERS = {BYTE: "B", SHORT: "H", LONG: "I"}
USED_TYPES = {*LETTERS, RATIONAL, BYTES}
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag: the type and the number of its values, and their bytes."""

    type: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Page:
    """The known tags of a page, and the byte order of their values, as `struct` writes it."""

    order: str
    tags: Mapping[int, _Tag]

    def numbers(self, number: int) -> tuple[int, ...]:
        """Return the values of a tag; none if it is not there."""
        tag = self.tags.get(number)
        if tag is None:
            return ()
        if tag.type not in LETTERS:
            raise damaged("TIFF", f"tag {number} holds no numbers")
        return struct.unpack(f"{self.order}{tag.count}{LETTERS[tag.type]}", tag.data)

    def number(self, number: int, default: int) -> int:
        """Return the only value of a tag."""
        values = self.numbers(number) or (default,)
        if len(values) != 1:
            raise damaged("TIFF", f"tag {number} has {len(values)} values, not one")
        return values[0]


def read_tiff(data: bytes) -> Header:
    """Read the first page of a TIFF, and leave nothing else in the file.

    Raises:
        ImageFileError: it is cut short, too large, or of a rare kind.
    """
    page = _read_page(data)
    width, height = page.number(WIDTH, 0), page.number(LENGTH, 0)
    check_size(width, height)
    _check_kind(page)
    return Header("TIFF", width, height, _rebuild(page, _segments(data, page, width, height)))


def _read_page(data: bytes) -> _Page:
    order = "<" if data.startswith(b"II") else ">"
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    count_bytes = data[start : start + 2]
    count = struct.unpack(f"{order}H", count_bytes)[0] if len(count_bytes) == 2 else 0
    end = start + 2 + 12 * count
    if not 0 < count <= MAX_TAGS or end + 4 > len(data):  # the offset of the next page follows
        raise damaged("TIFF", "the list of its tags is cut short")
    tags = {}
    for position in range(start + 2, end, 12):
        number, type, values = struct.unpack(f"{order}HHI", data[position : position + 8])
        size = values * TYPE_BYTES.get(type, 0)
        at = position + 8
        if size > 4:
            (at,) = struct.unpack(f"{order}I", data[position + 8 : position + 12])
        if at + size > len(data):
            raise damaged("TIFF", f"tag {number} is cut short")
        if number not in TAGS:
            continue
        limit = MAX_SEGMENTS * 4 if number in SEGMENT_TAGS else MAX_VALUE_BYTES
        if type not in USED_TYPES or not 0 < size <= limit:
            raise damaged("TIFF", f"tag {number} has {values} values of type {type}")
        tags[number] = _Tag(type, values, data[at : at + size])
    return _Page(order, tags)


def _check_kind(page: _Page) -> None:
    """Refuse kinds of pixels that Pillow reads as something else, or not at all."""
    compression = page.number(COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        raise unsupported("TIFF", f"one with compression {compression}")
    photometric = page.number(PHOTOMETRIC, WHITE_IS_ZERO)
    if photometric not in PHOTOMETRICS:
        kind = "in CIELAB" if photometric == LAB else f"of photometric kind {photometric}"
        raise unsupported("TIFF", f"one {kind}")
    bits = max(page.numbers(BITS), default=1)
    is_integer = set(page.numbers(SAMPLE_FORMAT)) <= {1}
    if bits not in (1, 2, 4, 8, 16) or not is_integer:
        kind = "" if is_integer else ", which are signed or float"
        raise unsupported("TIFF", f"one with {bits} bits a channel{kind}")
    if bits == 16 and photometric == WHITE_IS_ZERO:
        raise unsupported("TIFF", "one with 16 bits a channel, where 0 is white")


def _segments(data: bytes, page: _Page, width: int, height: int) -> list[bytes]:
    """Return the strips or tiles, as many as an image of this size has."""
    is_tiled = TILE_OFFSETS in page.tags
    if is_tiled:
        columns, rows = page.number(TILE_WIDTH, 0), page.number(TILE_LENGTH, 0)
        check_size(columns, rows)
    else:
        columns, rows = width, min(page.number(STRIP_ROWS, height), height)
    if rows < 1:
        raise damaged("TIFF", "its strips have no rows")
    planes = page.number(SAMPLES, 1) if page.number(PLANAR, 1) == 2 else 1
    expected = -(-width // columns) * -(-height // rows) * planes
    offsets = page.numbers(TILE_OFFSETS if is_tiled else STRIP_OFFSETS)
    counts = page.numbers(TILE_BYTES if is_tiled else STRIP_BYTES)
    if not len(offsets) == len(counts) == expected:
        got = f"{len(offsets)} strips or tiles of {len(counts)} lengths"
        raise damaged("TIFF", f"it has {got}, and its size needs {expected}")
    if sum(counts) > len(data):
        raise damaged("TIFF", "its strips or tiles overlap or are cut short")
    spans = zip(offsets, counts, strict=True)
    segments = [data[offset : offset + count] for offset, count in spans]
    if [len(segment) for segment in segments] != list(counts):
        raise damaged("TIFF", "its strips or tiles are cut short")
    if page.number(COMPRESSION, 1) == JPEG:
        check_scans("TIFF", max(segment.count(JPEG_SCAN) for segment in segments))
    return segments


def _rebuild(page: _Page, segments: list[bytes]) -> bytes:
    """Return a TIFF of these tags and segments: header, segments, values, list of tags."""
    order, parts, end = page.order, [b""], 8

    def add(part: bytes) -> int:
        """Append a part, and return its offset, which is even."""
        nonlocal end
        start = end
        parts.append(part + b"\0" * (len(part) % 2))
        end += len(parts[-1])
        return start

    offsets = [add(segment) for segment in segments]
    own = TILE_OFFSETS if TILE_OFFSETS in page.tags else STRIP_OFFSETS
    data = struct.pack(f"{order}{len(offsets)}I", *offsets)
    tags = {**page.tags, own: _Tag(LONG, len(offsets), data)}
    if own == TILE_OFFSETS:
        tags = {number: tag for number, tag in tags.items() if number not in STRIP_TAGS}
    entries = [struct.pack(f"{order}H", len(tags))]
    for number, tag in sorted(tags.items()):
        value = tag.data.ljust(4, b"\0")
        if len(value) > 4:
            value = struct.pack(f"{order}I", add(value))
        entries.append(struct.pack(f"{order}HHI", number, tag.type, tag.count) + value)
    start = add(b"".join(entries) + bytes(4))
    parts[0] = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    return b"".join(parts)
