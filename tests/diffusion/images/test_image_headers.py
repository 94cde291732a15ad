"""Image formats by their bytes: one row each, bounded whatever a header says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, features

from latentloom.diffusion.images import image_headers, image_limits
from latentloom.diffusion.images.image_files import decode
from latentloom.diffusion.images.image_headers import READERS, identify, list_names, read_header
from latentloom.diffusion.images.image_limits import MAX_JPEG_SCANS, ImageFileError
from latentloom.diffusion.images.transcode import convert
from latentloom.engine.files import image_formats
from tests.diffusion.images.images import encoded, insert_tags, marked, sample, tiff

NEEDED = {reader.name: reader.needs for reader in READERS if not reader.plugin}
BMP = encoded(sample(), "BMP")
GIF = encoded(sample(), "GIF")
FRAME_START = GIF.index(struct.pack("<B4H", ord(","), 0, 0, 12, 7))
AVIF = encoded(sample(), "AVIF") if features.check("avif") else b""
needs_avif = pytest.mark.skipif(not AVIF, reason="this Pillow reads no AVIF")


def patched(data: bytes, position: int, patch: bytes) -> bytes:
    return data[:position] + patch + data[position + len(patch) :]


def refusal(data: bytes) -> str:
    with pytest.raises(ImageFileError) as refused:
        read_header(data)
    return str(refused.value)


def test_the_formats_that_are_read_are_those_of_the_engines_table() -> None:
    assert [reader.name for reader in READERS] == [row.name for row in image_formats.IMAGE_FORMATS]
    assert list_names() == image_formats.list_names()


@pytest.mark.parametrize("name", [name for name, needed in NEEDED.items() if not needed])
def test_a_format_is_identified_by_its_first_bytes(name: str) -> None:
    assert identify(encoded(sample(), name)) == name


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("name", NEEDED)
def test_a_file_cut_at_a_tenth_is_refused(name: str, tenth: int) -> None:
    if NEEDED[name] and not features.check(NEEDED[name]):
        pytest.skip(f"this Pillow reads no {name}")
    data = encoded(sample(size=(40, 30)), name)
    assert refusal(data[: len(data) * tenth // 10])


def with_scans(count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated up to a number of scans."""
    data = encoded(sample(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * (count - data.count(b"\xff\xda")) + data[-2:]


def test_a_jpeg_of_more_scans_than_encoders_write_is_refused() -> None:
    assert decode(read_header(with_scans(MAX_JPEG_SCANS))).size == sample().size
    assert "more than 100 scans" in refusal(with_scans(MAX_JPEG_SCANS + 1))


def test_the_scans_of_a_tiff_of_jpegs_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(sample(), "TIFF", compression="jpeg")
    assert read_header(data).format == "TIFF"
    monkeypatch.setattr(image_limits, "MAX_JPEG_SCANS", 0)
    assert "scans" in refusal(data)


def test_a_format_that_pillow_was_built_without_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "check", lambda _name: False)
    assert "the installed Pillow cannot decode" in refusal(encoded(sample(), "TIFF"))


def test_of_a_gif_with_very_many_frames_only_the_first_reaches_a_decoder() -> None:
    many = GIF[:-1] + GIF[FRAME_START:-1] * 20_000 + b";"
    assert read_header(many) == read_header(GIF)


def test_a_gif_of_too_many_blocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_headers, "MAX_GIF_BLOCKS", 3)
    assert "too many blocks" in refusal(GIF[:-1] + b"!\xfe\1a\1b\1c\0;")


def test_what_a_gif_says_beside_its_pixels_is_left_out() -> None:
    spoken = GIF[:FRAME_START] + b"!\xfe\6secret\0" + GIF[FRAME_START:]
    assert np.array_equal(
        np.asarray(decode(read_header(spoken))), np.asarray(decode(read_header(GIF)))
    )
    assert b"secret" not in read_header(spoken).data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a" + struct.pack("<HH", 9000, 9000) + b"\0\0\0,", "it ends before its end mark"),
        (b"GIF89a\1", "it has no header"),
        (patched(GIF, 6, struct.pack("<HH", 9000, 9000)), "at most 64 megapixels"),
        (GIF[:13] + b";", "it ends before its end mark"),
        (b"GIF89a\1\0\1\0\0\0\0;", "it has no image in it"),
    ],
)
def test_a_hostile_gif_is_refused(data: bytes, message: str) -> None:
    assert message in refusal(data)


def test_a_gif_frame_may_not_stretch_the_image_beyond_the_limit() -> None:
    frame = b"," + struct.pack("<4HB", 60_000, 60_000, 9, 9, 0) + b"\2\2\x4c\1\0"
    assert "at most 64 megapixels" in refusal(b"GIF89a\1\0\1\0\0\0\0" + frame + b";")


@pytest.mark.parametrize(
    ("position", "patch", "message"),
    [
        (14, struct.pack("<I", 41), "it has no header"),
        (18, struct.pack("<ii", 9000, 9000), "at most 64 megapixels"),
        (18, struct.pack("<ii", 9000, -9000), "at most 64 megapixels"),
        (18, struct.pack("<ii", -5, 5), "at most 64 megapixels"),
        (18, struct.pack("<ii", 5, 0), "an image with pixels"),
        (28, struct.pack("<H", 65_535), "cut short"),
        (30, struct.pack("<I", 1), "one with compression 1"),
        (10, struct.pack("<I", 20), "cut short"),
    ],
)
def test_a_hostile_bmp_is_refused(position: int, patch: bytes, message: str) -> None:
    assert message in refusal(patched(BMP, position, patch))


def test_a_bmp_may_be_stored_from_the_top_down() -> None:
    height = struct.unpack("<i", BMP[22:26])[0]
    turned = decode(read_header(patched(BMP, 22, struct.pack("<i", -height))))
    assert np.array_equal(np.asarray(turned), np.asarray(sample())[::-1])


TIFF = encoded(sample(), "TIFF")
SHORT, LONG = 3, 4


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({256: (LONG, [2**31])}, "at most 64 megapixels"),
        ({256: (LONG, [])}, "tag 256 has 0 values"),
        ({256: (SHORT, [12, 12])}, "tag 256 has 2 values, not one"),
        ({257: (12, [7])}, "tag 257 has 1 values of type 12"),
        ({259: (SHORT, [50_000])}, "one with compression 50000"),
        ({262: (SHORT, [8])}, "one in CIELAB"),
        ({258: (SHORT, [32, 32, 32])}, "one with 32 bits a channel"),
        ({339: (SHORT, [3, 3, 3])}, "which are signed or float"),
        ({258: (SHORT, [16]), 262: (SHORT, [0])}, "where 0 is white"),
        ({278: (LONG, [0])}, "its strips have no rows"),
        ({278: (LONG, [1])}, "its size needs 7"),
        ({273: (LONG, [8] * 5000), 279: (LONG, [4] * 5000)}, "its size needs 1"),
        ({278: (LONG, [1]), 273: (LONG, [8] * 7), 279: (LONG, [252] * 7)}, "overlap"),
        ({279: (LONG, [2**32 - 1])}, "overlap or are cut short"),
        ({273: (LONG, [2**32 - 1])}, "are cut short"),
        ({322: (LONG, [2**31]), 323: (LONG, [2**31]), 324: (LONG, [8])}, "at most 64 megapixels"),
        ({322: (LONG, [0]), 323: (LONG, [16]), 324: (LONG, [8])}, "an image with pixels"),
    ],
)
def test_a_hostile_tiff_is_refused(tags: dict[int, tuple[int, list[int]]], message: str) -> None:
    assert message in refusal(insert_tags(tags))


def test_a_tag_of_more_values_than_the_file_has_bytes_is_refused() -> None:
    entry = struct.pack("<HHII", 320, SHORT, 2**32 - 1, 8)
    assert "tag 320 is cut short" in refusal(tiff([entry]))


def test_tags_that_all_point_at_the_same_megabytes_cost_nothing() -> None:
    entries = [struct.pack("<HHII", 40_000 + i, 7, 2**20, 8) for i in range(4000)]
    assert "an image with pixels" in refusal(tiff(entries, bytes(2**20)))


def test_a_list_of_tags_that_is_too_long_is_refused() -> None:
    entries = [struct.pack("<HHII", 40_000 + i, 7, 1, 8) for i in range(4097)]
    assert "the list of its tags is cut short" in refusal(tiff(entries))


def test_a_tiff_whose_next_page_is_itself_is_read() -> None:
    (start,) = struct.unpack("<I", TIFF[4:8])
    (count,) = struct.unpack("<H", TIFF[start : start + 2])
    looped = patched(TIFF, start + 2 + 12 * count, struct.pack("<I", start))
    assert np.array_equal(np.asarray(decode(read_header(looped))), np.asarray(sample()))


def test_what_a_tiff_says_beside_its_pixels_is_left_out() -> None:
    spoken = encoded(sample(), "TIFF", description="secret")
    assert b"secret" not in read_header(spoken).data
    assert len(read_header(spoken).data) < len(spoken)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_keeps_its_bits_and_is_scaled_for_a_page(order: str) -> None:
    grey = Image.fromarray(np.arange(0, 65_536, 1024, dtype=f"{order}u2").reshape(8, 8))
    image = decode(read_header(encoded(grey, "TIFF")))
    assert np.array_equal(np.asarray(image).astype(int), np.asarray(grey).astype(int))
    shown = np.asarray(decode(read_header(convert(encoded(grey, "TIFF"), "PNG").data)))
    assert np.abs(shown[..., 0].astype(float) - np.asarray(grey) / 257).max() <= 1


@needs_avif
def test_an_avif_gives_nearly_the_pixels_that_were_saved() -> None:
    header = read_header(encoded(marked(), "AVIF", quality=90))
    assert (header.width, header.height) == (16, 8)
    difference = np.asarray(decode(header)).astype(int) - np.asarray(marked())
    assert np.abs(difference).mean() < 8  # lossy, at an edge from black to white


@needs_avif
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (struct.pack(">II", 12, 7), struct.pack(">II", 9000, 9000), "at most 64 megapixels"),
        (struct.pack(">II", 12, 7), struct.pack(">II", 0, 7), "an image with pixels"),
        (b"ispe", b"free", "does not say how large"),
        (b"meta", b"free", "says nothing about its image"),
        (b"mdat", b"free", "its pixels are missing"),
        (b"iprp", b"\xff\xff\xff\xff", "does not say how large"),
    ],
)
def test_a_hostile_avif_is_refused(old: bytes, new: bytes, message: str) -> None:
    assert old in AVIF
    assert message in refusal(AVIF.replace(old, new))


def test_a_file_that_only_mentions_avif_is_refused() -> None:
    start = b"\0\0\0\x14ftypmif1\0\0\0\0miaf"
    assert "a file of the same family" in refusal(start + b"\0\0\0\x0cfree" + b"avif")


def test_an_avif_of_too_many_parts_is_refused() -> None:
    start = b"\0\0\0\x14ftypavif\0\0\0\0avif"
    assert "too many parts" in refusal(start + b"\0\0\0\x08free" * 70_000)


def test_a_tiled_tiff_is_read() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:7, :12] = np.asarray(sample())
    tags = {322: (SHORT, [16]), 323: (SHORT, [16]), 324: (LONG, [8]), 325: (LONG, [768])}
    image = decode(read_header(insert_tags(tags, pixels.tobytes())))
    assert np.array_equal(np.asarray(image), np.asarray(sample()))
