"""Image files are read whole or refused with a reason; nothing else ever comes out."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from latentloom.diffusion.images.image_files import check_file, decode, read_image
from latentloom.diffusion.images.image_headers import read_header
from latentloom.diffusion.images.image_limits import (
    MAX_BYTES,
    ImageFileError,
    check_size,
)
from tests.diffusion.images.images import (
    MAGIC,
    bomb,
    chunk,
    encoded,
    insert,
    marked,
    oriented,
    sample,
)
from tests.paths import ROOT

AVIF = ["AVIF"] if features.check("avif") else []
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *AVIF)
FILES = {
    **{format: encoded(sample(size=(40, 30)), format) for format in FORMATS},
    "alpha": encoded(sample("RGBA"), "PNG"),
    "palette": encoded(sample().quantize(8), "PNG", transparency=3),
    "lossless": encoded(sample("RGBA"), "WEBP", lossless=True),
    "progressive": encoded(sample(size=(40, 30)), "JPEG", progressive=True),
    "exif": oriented(6),
    "animated": encoded(sample(), "WEBP", save_all=True, append_images=[sample(seed=1)]),
    "animated gif": encoded(sample(), "GIF", save_all=True, append_images=[sample(seed=1)]),
    "transparent gif": encoded(sample().quantize(8), "GIF", transparency=3),
    "palette bmp": encoded(sample().quantize(8), "BMP"),
    "two pages": encoded(sample(), "TIFF", save_all=True, append_images=[sample(seed=1)]),
    **{
        f"tiff {compression}": encoded(sample("RGBA"), "TIFF", compression=compression)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    },
    "tiff jpeg": encoded(sample(size=(40, 30)), "TIFF", compression="jpeg"),
    "tiff fax": encoded(sample().convert("1"), "TIFF", compression="group4"),
    "grey tiff": encoded(sample("L"), "TIFF"),
    "palette tiff": encoded(sample().quantize(8), "TIFF"),
}
AS_THE_LIBRARY_READS_THEM = [
    name for name in FILES if "animated" not in name and name not in ("exif", *AVIF)
]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "image.png"
    path.write_bytes(data)
    return path


def read(data: bytes) -> Image.Image:
    return decode(read_header(data))


@pytest.mark.parametrize("name", FILES)
def test_a_sound_file_is_read(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, FILES[name])
    header = check_file(path)
    assert read_image(path).size in ((header.width, header.height), (header.height, header.width))


@pytest.mark.parametrize("name", AS_THE_LIBRARY_READS_THEM)
def test_pixels_are_those_that_the_library_reads(name: str, tmp_path: Path) -> None:
    with Image.open(written(tmp_path, FILES[name])) as plain:
        expected = np.asarray(plain.convert("RGBA"))
    assert np.array_equal(np.asarray(read(FILES[name]).convert("RGBA")), expected)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", *AVIF])
def test_orientation_is_applied(format: str) -> None:
    upright = read(oriented(6, format))
    assert upright.size == (8, 16)
    corners = [upright.convert("L").getpixel(point) for point in ((1, 1), (6, 1), (1, 14), (6, 14))]
    assert [isinstance(level, int) and level > 128 for level in corners] == [
        False,
        True,
        False,
        False,
    ]


def test_broken_exif_leaves_the_image_as_it_lies() -> None:
    odd = insert(encoded(marked(), "PNG"), chunk(b"eXIf", b"II*\0\xff\xff\xff\xff junk"))
    assert read(odd).size == (16, 8)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(format: str) -> None:
    first, second = sample(seed=1), sample(seed=2)
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    moving = encoded(first, format, save_all=True, append_images=[second], **options)
    assert np.array_equal(np.asarray(read(moving).convert("RGB")), np.asarray(first))


def test_of_a_two_image_jpeg_the_first_is_read() -> None:
    both = encoded(sample(seed=1), "MPO", save_all=True, append_images=[sample(seed=2)])
    alone = encoded(sample(seed=1), "JPEG")
    assert np.array_equal(np.asarray(read(both)), np.asarray(read(alone)))


@pytest.mark.parametrize(
    "hostile",
    [
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"a" * 2**24)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"a" * 2**24)),
        chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"a" * 2**24)),
        chunk(b"tEXt", b"workflow\0\xff\xfe{not json"),
        chunk(b"tEXt", b"prompt\0{}", checksum=1),
        chunk(b"eXIf", b"junk", checksum=1),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"acTL", b""),
        chunk(b"\xff\xff\xff\xff", b""),
    ],
)
def test_a_hostile_extra_is_left_out_and_the_image_is_read(hostile: bytes) -> None:
    assert np.array_equal(
        np.asarray(read(insert(FILES["alpha"], hostile))), np.asarray(sample("RGBA"))
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FILES.keys() - {"two pages"})), st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused_or_has_all_its_pixels(name: str, share: float) -> None:
    data = FILES[name]
    try:
        cut = read_header(data[: int(share * len(data))])
    except ImageFileError:
        return
    assert np.array_equal(np.asarray(decode(cut)), np.asarray(decode(read_header(data))))


@pytest.mark.parametrize("name", FILES)
def test_bytes_after_an_image_are_ignored(name: str) -> None:
    complete, longer = read(FILES[name]), read(FILES[name] + b"PK\3\4 and more \xff\xd8\xff")
    assert np.array_equal(np.asarray(complete), np.asarray(longer))


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "an empty file"),
        (b"8BPS\0\1" + bytes(20), "a PSD"),
        (b"\xff\x0a\xfa\x07" + bytes(20), "a JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "a JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "a JPEG 2000"),
        (b"\0\0\0\x18ftypmp42" + bytes(20), "a video"),
        (b"\x1a\x45\xdf\xa3" + bytes(20), "a video"),
        (b"v/1\x01" + bytes(20), "an OpenEXR"),
        (b"PK\x03\x04" + bytes(20), "a ZIP archive"),
        (b"II+\0\x08\0\0\0" + bytes(20), "a BigTIFF"),
        (b" <svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG or other markup"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>Log in</title>", "a web page"),
        (b'{"error": "not found"}', "JSON, such as an error message of a site"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b"hello", "a file of another kind"),
        (b"RIFF\x04\0\0\0WAVE", "a file of another kind"),
    ],
)
def test_another_kind_of_file_is_refused(data: bytes, got: str, tmp_path: Path) -> None:
    with pytest.raises(ImageFileError) as refused:
        check_file(written(tmp_path, data))
    assert refused.value.expected == "a PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC image"
    assert refused.value.got == got
    assert refused.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match=r"'cat\.png', which does not exist"):
        check_file(tmp_path / "cat.png")
    with pytest.raises(ImageFileError, match="which is not a file"):
        check_file(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (64_000_001, 1), (0, 5), (5, 0)])
def test_sizes_beyond_64_megapixels_or_empty_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageFileError):
        check_size(width, height)


def test_64_megapixels_are_accepted() -> None:
    check_size(8000, 8000)


def test_an_image_bomb_is_refused_before_a_decoder_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", None)
    path = written(tmp_path, bomb(13_000, 13_000))
    assert path.stat().st_size < 40_000
    with pytest.raises(ImageFileError, match=r"at most 64 megapixels, got 13000×13000 \(169\.0"):
        read_image(path)


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\x22\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6 + bytes(12),
        b"RIFF\x22\0\0\0WEBPVP8L\x16\0\0\0\x2f\xff\xff\xff\xff" + bytes(17),
        b"RIFF\x22\0\0\0WEBPVP8 \x16\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(12),
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3" + bytes(9) + b"\xff\xd9",
        MAGIC
        + chunk(b"IHDR", struct.pack(">II5B", 2**31, 2**31, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b""),
    ],
)
def test_every_format_reads_its_size_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageFileError, match="at most 64 megapixels"):
        read_header(data)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as sink:
        sink.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageFileError, match="at most 512 MiB"):
        check_file(path)


def test_damaged_pixels_are_refused_when_decoded() -> None:
    broken = bytearray(FILES["PNG"])
    broken[60:80] = bytes(20)
    with pytest.raises(ImageFileError, match="can be decoded, got a damaged one"):
        read(bytes(broken))


STARTS = (
    b"", MAGIC, b"\xff\xd8\xff", b"RIFF\x20\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
    b"\0\0\0\x14ftypavif\0\0\0\0avif",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(STARTS))
@example(b"", b"\xff\xd8\xff")
def test_any_bytes_give_an_image_or_an_image_error(rest: bytes, magic: bytes) -> None:
    assert outcome(magic + rest)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), max_size=4),
)
def test_any_damage_gives_an_image_or_an_image_error(
    name: str, damages: list[tuple[float, bytes]]
) -> None:
    data = bytearray(FILES[name])
    for position, patch in damages:
        start = int(position * len(data))
        data[start : start + len(patch)] = patch
    assert outcome(bytes(data))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"fdAT", b"IEND")),
            st.binary(max_size=40),
        ),
        max_size=6,
    )
)
def test_any_png_chunks_give_an_image_or_an_image_error(
    chunks: list[tuple[bytes, bytes]],
) -> None:
    tail = b"".join(chunk(kind, content) for kind, content in chunks)
    assert outcome(FILES["alpha"][:33] + tail + FILES["alpha"][33:])


def outcome(data: bytes) -> str:
    """Return the mode of the image in a file, or why it is refused; raise anything else."""
    try:
        image = read(data)
    except ImageFileError as error:
        return str(error)
    return image.mode


def test_checking_an_image_loads_no_torch(tmp_path: Path) -> None:
    path = written(tmp_path, FILES["PNG"])
    program = (
        "import sys; from pathlib import Path;"
        "from latentloom.diffusion.images.image_files import check_file; "
        "check_file(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert ran.stdout.strip() == "False"
