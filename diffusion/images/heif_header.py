"""AVIF and HEIC files by their boxes.

Source: ISO/IEC 14496-12 (boxes) and 23008-12 (items and their sizes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Set

from .image_limits import Header, check_size, damaged, unsupported

AVIF_BRANDS = {b"avif", b"avis"}
# The boxes of a file. The first box of another kind ends it.
TOP_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"}
MAX_BOXES = 65_536


def read_avif(data: bytes) -> Header:
    """Read the size of an AVIF, as `read_heif` does."""
    _, start, end = next(_boxes("AVIF", data, 0, len(data)))
    if AVIF_BRANDS.isdisjoint(data[at : at + 4] for at in (start, *range(start + 8, end, 4))):
        raise unsupported("AVIF", "a file of the same family, such as HEIC")
    return read_heif("AVIF", data)


def read_heic(data: bytes) -> Header:
    """Read the size of a HEIC, as `read_heif` does."""
    return read_heif("HEIC", data)


def read_heif(format: str, data: bytes) -> Header:
    """Read the size of an AVIF or HEIC, and check that all of its boxes are there.

    The size is the largest that the file names for any image in it.

    Raises:
        ImageFileError: a box is cut short or missing, or an image is too large.
    """
    spans: dict[bytes, tuple[int, int]] = {}
    file_end = 0
    for kind, start, end in _boxes(format, data, 0, len(data), TOP_BOXES):
        spans.setdefault(kind, (start, end))
        file_end = end
    if b"meta" not in spans:
        raise damaged(format, "it says nothing about its image")
    sizes = list(_sizes(format, data, *spans[b"meta"]))
    if not sizes:
        raise damaged(format, "it does not say how large its image is")
    for width, height in sizes:
        check_size(width, height)
    if b"mdat" not in spans:
        raise damaged(format, "its pixels are missing")
    return Header(format, *max(sizes, key=lambda size: size[0] * size[1]), data[:file_end])


def _sizes(format: str, data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield width and height of each `ispe` box in meta/iprp/ipco."""
    spans = [(start + 4, end)]
    for name in (b"iprp", b"ipco"):
        spans = [
            (inner, stop)
            for span in spans
            for kind, inner, stop in _boxes(format, data, *span)
            if kind == name
        ]
    for span in spans:
        for kind, inner, stop in _boxes(format, data, *span):
            if kind == b"ispe" and stop - inner >= 12:
                yield struct.unpack(">II", data[inner + 4 : inner + 12])


def _boxes(
    format: str, data: bytes, position: int, end: int, kinds: Set[bytes] = frozenset()
) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start of the content and end of each box in a span.

    Args:
        kinds: stop at the first box of another kind; empty for no such stop.
    """
    for _ in range(MAX_BOXES):
        content = position + 8
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : content]
        if position >= end or (kinds and kind not in kinds):
            return
        if length == 1:  # the length follows, in 64 bits
            length, content = int.from_bytes(data[content : content + 8]), content + 8
        stop = position + length if length else end
        if not content <= stop <= end:
            raise damaged(format, f"its part {kind.decode('latin-1')!r} is cut short")
        yield kind, content, stop
        position = stop
    raise damaged(format, "it has too many parts")
