"""Image files without their end mark, which viewers show: whether all of their pixels are there.

Only decoding shows it. Its work is bounded, and the result for a file is remembered.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from PIL import Image

from .image_limits import DECODE_ERRORS

MAX_DECODED_PIXELS = 256_000_000
"""Pixels to decode for one file, counted again for each scan; beyond it the file is refused."""
MAX_VERDICTS = 256
"""Files whose result is remembered."""
STRIP_ROWS = 64
JPEG_END_MARK = b"\xff\xd9"
# A decoder that lacks data reads what follows, so that different bytes give different pixels.
JPEG_PADDINGS = (bytes(64), b"\xa5\x5a" * 32)
COEFFICIENTS = range(64)


class Verdicts:
    """Remembers by digest whether files had all pixels; the least recently used go first."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, bool] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def is_complete(self, format: str, variants: Sequence[bytes]) -> bool:
        """Return whether all variants of a file can be decoded, to the same pixels."""
        key = hashlib.sha256(variants[0]).digest()
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        pixels = {_digest(format, data) for data in variants}
        is_complete = len(pixels) == 1 and None not in pixels
        with self._lock:
            self._entries[key] = is_complete
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return is_complete


_VERDICTS = Verdicts(MAX_VERDICTS)


def is_complete_png(data: bytes, width: int, height: int) -> bool:
    """Return whether a PNG has all of its pixels; its end mark must have been added."""
    return width * height <= MAX_DECODED_PIXELS and _VERDICTS.is_complete("PNG", [data])


def is_complete_jpeg(
    segments: Sequence[bytes], frame: bytes, scans: Sequence[bytes], width: int, height: int
) -> bool:
    """Return whether a JPEG has all of its pixels.

    Args:
        segments: all of its segments, without the end mark.
        frame: the segment that is the frame header.
        scans: the segments that start a scan, with the data of the scan.
    """
    work = width * height * len(scans) * len(JPEG_PADDINGS)
    if work > MAX_DECODED_PIXELS or not _has_all_coefficients(frame, scans):
        return False
    data = b"".join(segments)
    return _VERDICTS.is_complete("JPEG", [data + end + JPEG_END_MARK for end in JPEG_PADDINGS])


def _has_all_coefficients(frame: bytes, scans: Sequence[bytes]) -> bool:
    """Return whether the scans give each component's coefficients to the last bit (T.81, B.2.3)."""
    missing = {(component, index) for component in frame[10::3] for index in COEFFICIENTS}
    for scan in scans:
        count = int.from_bytes(scan[4:5])
        selection = scan[5 + 2 * count : 8 + 2 * count]
        if len(selection) < 3:
            return False
        first, last, precision = selection
        if precision & 15 == 0:
            components = scan[5 : 5 + 2 * count : 2]
            missing -= {(part, index) for part in components for index in range(first, last + 1)}
    return not missing


def _digest(format: str, data: bytes) -> bytes | None:
    """Return a digest of an image's pixels; None if it cannot be decoded."""
    digest = hashlib.sha256()
    try:
        with Image.open(io.BytesIO(data), formats=(format,)) as image:
            image.load()
            for top in range(0, image.height, STRIP_ROWS):
                strip = image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height)))
                digest.update(strip.tobytes())
    except DECODE_ERRORS:
        return None
    return digest.digest()
