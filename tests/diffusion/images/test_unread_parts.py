"""Parts of image files that are not read: frames and colour profiles, in every format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageCms, features

from latentloom.diffusion.images.image_limits import ImageFileError
from latentloom.diffusion.images.unread_parts import COLOURS, MORE, is_other_profile, list_unread
from tests.diffusion.images.images import encoded, sample

# Colorants of Display P3 at D50, from its public profile.
P3 = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = [
    "PNG", "JPEG", "TIFF",
    *(name for name in ("WebP", "AVIF") if features.check(name.lower())),
]  # fmt: skip


def profile(primaries: tuple[tuple[float, ...], ...]) -> bytes:
    """An ICC profile of a screen with these primaries, and of nothing else."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    start = 132 + 12 * len(names)
    table = b"".join(
        struct.pack(">4sII", name, start + 20 * index, 20) for index, name in enumerate(names)
    )
    values = b"".join(
        struct.pack(">4sI3i", b"XYZ ", 0, *(round(part * 65536) for part in primary))
        for primary in primaries
    )
    size = start + len(values)
    head = struct.pack(">I12s4s4s", size, b"\0" * 8 + b"mntr", b"RGB ", b"XYZ ")
    return head.ljust(128, b"\0") + struct.pack(">I", len(names)) + table + values


def saved(folder: Path, format: str, **options: Any) -> Path:
    path = folder / f"image.{format.lower()}"
    path.write_bytes(encoded(sample(), format, **options))
    return path


def test_primaries_decide() -> None:
    assert is_other_profile(profile(P3))
    assert not is_other_profile(SRGB)
    assert not is_other_profile(b"")


@pytest.mark.parametrize("format", FORMATS)
def test_a_colour_profile_is_named_if_it_is_not_srgb(format: str, tmp_path: Path) -> None:
    assert list_unread(saved(tmp_path, format)) == ()
    assert list_unread(saved(tmp_path, format, icc_profile=SRGB)) == ()
    assert list_unread(saved(tmp_path, format, icc_profile=profile(P3))) == (COLOURS,)


@pytest.mark.parametrize("format", ["PNG", "GIF", "TIFF", *FORMATS[3:]])
def test_further_frames_are_named(format: str, tmp_path: Path) -> None:
    more = [sample(seed=1)]
    assert list_unread(saved(tmp_path, format, save_all=True, append_images=more)) == (MORE,)


def test_any_damage_is_an_error_of_the_file_or_none(tmp_path: Path) -> None:
    for format in FORMATS:
        data = encoded(sample(), format, icc_profile=profile(P3))
        for position in range(0, min(len(data), 900), 7):
            path = tmp_path / "image"
            path.write_bytes(data[:position] + b"\xff" + data[position + 1 :])
            try:
                assert set(list_unread(path)) <= {MORE, COLOURS}
            except ImageFileError:
                continue
