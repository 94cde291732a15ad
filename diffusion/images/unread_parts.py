"""Parts of image files that are not read, for warnings: frames, colour profiles.

Pixels are taken as sRGB, as ComfyUI takes them. Sources: ICC.1:2022 for profiles, and the
specifications of the formats, as in `image_headers`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from .image_files import check_file
from .image_headers import GIF_FRAME, JPEG_SCAN, PNG_MAGIC, gif_kinds, jpeg_segments

MAX_PROFILE_BYTES = 2**22
SRGB_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
# Adobe RGB and Display P3 differ by 0.08 and more, variants of sRGB by less than 0.005.
MAX_DIFFERENCE = 0.02
# ITU-T H.273: the primaries of BT.709, which are those of sRGB, and unspecified ones.
SRGB_CODES = (1, 2)
PROFILE_TAG = 34_675
MORE, COLOURS = "further frames or pages", "a colour profile other than sRGB"


def list_unread(path: Path) -> tuple[str, ...]:
    """Return what an image file holds beside its first image in sRGB, as phrases.

    Raises:
        ImageFileError: as `check_file`.
    """
    content = b""

    def read(file: Path, max_bytes: int) -> bytes:
        nonlocal content
        content = file.read_bytes()[:max_bytes]
        return content

    format = check_file(path, read).format
    has_more, is_coloured = _PARTS[format](content) if format in _PARTS else (False, False)
    phrases = {MORE: has_more, COLOURS: is_coloured}
    return tuple(phrase for phrase, is_there in phrases.items() if is_there)


def is_other_profile(profile: bytes) -> bool:
    """Return whether an ICC profile has other primaries than sRGB; False if it names none."""
    if profile[16:20] != b"RGB " or len(profile) < 132:
        return False
    (count,) = struct.unpack(">I", profile[128:132])
    tags = {}
    for start in range(132, min(132 + 12 * count, len(profile) - 11), 12):
        name, offset, _ = struct.unpack(">4sII", profile[start : start + 12])
        tags[name] = profile[offset + 8 : offset + 20]
    values = [tags.get(name, b"") for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    if any(len(value) != 12 for value in values):
        return False
    primaries = [tuple(part / 65536 for part in struct.unpack(">3i", value)) for value in values]
    return any(
        abs(ours - theirs) > MAX_DIFFERENCE
        for pair in zip(primaries, SRGB_PRIMARIES, strict=True)
        for ours, theirs in zip(*pair, strict=True)
    )


def _png(data: bytes) -> tuple[bool, bool]:
    chunks = dict(_png_chunks(data))
    packed = chunks.get(b"iCCP", b"").partition(b"\0")[2][1:]
    try:
        profile = zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
    except zlib.error:
        profile = b""
    return int.from_bytes(chunks.get(b"acTL", b"")[:4]) > 1, is_other_profile(profile)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the chunks before the pixels."""
    position, kind = len(PNG_MAGIC), b""
    while kind not in (b"IDAT", b"IEND") and position + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _jpeg(data: bytes) -> tuple[bool, bool]:
    profile = bytearray()
    for marker, start, end in jpeg_segments(data):
        if marker == JPEG_SCAN:
            break
        segment = data[start + 4 : end]
        if segment.startswith(b"ICC_PROFILE\0") and len(profile) < MAX_PROFILE_BYTES:
            profile += segment[14:]
    return False, is_other_profile(bytes(profile))


def _webp(data: bytes) -> tuple[bool, bool]:
    if data[12:16] != b"VP8X":
        return False, False
    length = int.from_bytes(data[34:38], "little") if data[30:34] == b"ICCP" else 0
    profile = data[38 : 38 + min(length, MAX_PROFILE_BYTES)]
    return bool(data[20] & 0x02), is_other_profile(profile)


def _gif(data: bytes) -> tuple[bool, bool]:
    return sum(kind == GIF_FRAME for kind in gif_kinds(data)) > 1, False


def _tiff(data: bytes) -> tuple[bool, bool]:
    order = "<" if data.startswith(b"II") else ">"
    (start,) = struct.unpack(f"{order}I", data[4:8])
    (count,) = struct.unpack(f"{order}H", data[start : start + 2])
    end = start + 2 + 12 * count
    is_other = False
    for position in range(start + 2, end, 12):
        number, _, length, offset = struct.unpack(f"{order}HHII", data[position : position + 12])
        if number == PROFILE_TAG:
            is_other = is_other_profile(data[offset : offset + min(length, MAX_PROFILE_BYTES)])
    return data[end : end + 4] != bytes(4), is_other


def _heif(data: bytes) -> tuple[bool, bool]:
    is_sequence = re.match(rb"....ftyp(avis|msf1|hev[cxms])", data, re.DOTALL) is not None
    start = data[:65_536]
    coded = re.search(rb"colrnclx(..)", start, re.DOTALL)
    packed = re.search(rb"(....)colr(?:prof|rICC)", start, re.DOTALL)
    if packed is not None:
        length = min(int.from_bytes(packed.group(1)), MAX_PROFILE_BYTES)
        return is_sequence, is_other_profile(data[packed.end() : packed.start() + length])
    return is_sequence, coded is not None and int.from_bytes(coded.group(1)) not in SRGB_CODES


_PARTS = {
    "PNG": _png, "JPEG": _jpeg, "WebP": _webp, "GIF": _gif, "TIFF": _tiff, "AVIF": _heif,
    "HEIC": _heif,
}  # fmt: skip
