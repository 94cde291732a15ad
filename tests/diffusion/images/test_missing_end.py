"""Image files without their end mark: read if all of their pixels are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latentloom.diffusion.images import missing_end
from latentloom.diffusion.images.image_files import decode
from latentloom.diffusion.images.image_headers import read_header
from latentloom.diffusion.images.image_limits import ImageFileError
from latentloom.diffusion.images.missing_end import Verdicts
from tests.diffusion.images.images import encoded, sample

JPEGS = {
    "baseline": encoded(sample(size=(40, 30)), "JPEG"),
    "progressive": encoded(sample(size=(40, 30)), "JPEG", progressive=True),
    "grey": encoded(sample("L", size=(40, 30)), "JPEG"),
    "CMYK": encoded(sample(size=(40, 30)).convert("CMYK"), "JPEG"),
    "optimized": encoded(sample(size=(40, 30)), "JPEG", optimize=True, subsampling=0),
    "restarts": encoded(sample(size=(40, 30)), "JPEG", restart_marker_blocks=2),
    "plain": encoded(Image.new("RGB", (40, 30), (10, 200, 30)), "JPEG"),
}
PNG, GIF = encoded(sample(), "PNG"), encoded(sample(), "GIF")


@pytest.fixture(autouse=True)
def verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test decide anew."""
    monkeypatch.setattr(missing_end, "_VERDICTS", Verdicts(8))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(read_header(data)))


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_without_its_end_mark_is_read(name: str, lost: int) -> None:
    assert np.array_equal(pixels(JPEGS[name][:-lost]), pixels(JPEGS[name]))


@pytest.mark.parametrize("lost", range(1, 13))
def test_a_png_that_ends_within_its_end_mark_is_read(lost: int) -> None:
    assert np.array_equal(pixels(PNG[:-lost]), pixels(PNG))


def test_a_gif_without_its_end_mark_is_read() -> None:
    assert np.array_equal(pixels(GIF[:-1]), pixels(GIF))


def odd_webp(**options: Any) -> bytes:
    """A WebP whose last chunk has an odd size, and so a byte of padding behind it."""
    data = encoded(sample(size=(40, 30)), "WEBP", **options)
    end = data.rindex(b"VP8" if not options.get("exif") else b"EXIF")
    size = int.from_bytes(data[end + 4 : end + 8], "little")
    if size % 2:
        return data
    # A decoder reads no further than its image; the chunk may be longer.
    return _with_size(
        data[: end + 4] + (size + 1).to_bytes(4, "little") + data[end + 8 :] + b"\0\0"
    )


def _with_size(data: bytes) -> bytes:
    return data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0odd"}], ids=str)
def test_a_webp_without_its_last_padding_byte_is_read(
    options: dict[str, Any],
) -> None:
    complete = odd_webp(**options)
    shorter = _with_size(complete[:-1])
    for data in (complete[:-1], shorter, shorter[:8] + complete[8:], shorter + b"more"):
        assert np.array_equal(pixels(data), pixels(complete))


def test_a_webp_that_lacks_a_byte_of_its_image_is_refused() -> None:
    data = odd_webp()
    size = int.from_bytes(data[16:20], "little") + 1
    even = data[:16] + size.to_bytes(4, "little") + data[20:]
    for cut in (even[:-1], data[:-2]):
        with pytest.raises(ImageFileError, match="shorter than it says"):
            read_header(cut)


@given(st.sampled_from(sorted(JPEGS)), st.integers(3, 60))
def test_a_jpeg_that_lacks_data_is_refused_unless_no_pixel_depends_on_it(
    name: str, lost: int
) -> None:
    try:
        cut = pixels(JPEGS[name][:-lost])
    except ImageFileError:
        return
    assert np.array_equal(cut, pixels(JPEGS[name]))


@pytest.mark.parametrize("lost", [10, 40, 100])
@pytest.mark.parametrize("name", sorted(JPEGS.keys() - {"plain"}))
def test_a_jpeg_that_lacks_pixels_is_refused(name: str, lost: int) -> None:
    with pytest.raises(ImageFileError, match="it ends before its end mark"):
        read_header(JPEGS[name][:-lost])


def test_a_progressive_jpeg_that_lacks_scans_is_refused_without_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "open", None)
    data = JPEGS["progressive"]
    with pytest.raises(ImageFileError, match="it ends before its end mark"):
        read_header(data[: data.rindex(b"\xff\xda")])
    before_tables = data[: data.rindex(b"\xff\xc4")]
    with pytest.raises(ImageFileError, match="it ends before its end mark"):
        read_header(before_tables)


def test_a_png_that_ends_between_chunks_of_its_pixels_is_refused() -> None:
    data = encoded(sample(size=(300, 300)), "PNG", compress_level=0)
    with pytest.raises(ImageFileError, match="it ends before its end mark"):
        read_header(data[: data.rindex(b"IDAT") - 4])


def test_a_file_is_decoded_for_this_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, opened = JPEGS["baseline"][:-2], []
    open_image = Image.open

    def count(*args: Any, **options: Any) -> Image.Image:
        opened.append(args)
        return open_image(*args, **options)

    monkeypatch.setattr(Image, "open", count)
    read_header(data)
    assert len(opened) == 2
    read_header(data)
    assert len(opened) == 2


def test_the_results_of_the_last_files_only_are_remembered() -> None:
    remembered = Verdicts(2)
    for data in (PNG, b"no image", GIF, PNG):
        assert remembered.is_complete("PNG", [data]) == (data == PNG)
        assert len(remembered) <= 2


@pytest.mark.parametrize("data", [JPEGS["baseline"][:-2], PNG[:-12]])
def test_a_file_of_much_work_is_refused_without_decoding(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_end, "MAX_DECODED_PIXELS", 0)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageFileError, match="it ends before its end mark"):
        read_header(data)


@pytest.mark.parametrize("scan", [b"\0\x02", b"\0\x03\xff", b"\0\x08\x03\1\0\2\0\3"])
def test_a_jpeg_with_a_damaged_scan_header_is_refused(scan: bytes) -> None:
    data = JPEGS["baseline"]
    with pytest.raises(ImageFileError):
        read_header(data[: data.index(b"\xff\xda")] + b"\xff\xda" + scan)
