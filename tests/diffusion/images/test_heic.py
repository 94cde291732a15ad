"""HEIC files: named without the package that decodes them, and read with it."""

from __future__ import annotations

import struct
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, features

from latentloom.diffusion.images import plugins
from latentloom.diffusion.images.image_files import decode
from latentloom.diffusion.images.image_headers import identify, read_header
from latentloom.diffusion.images.image_limits import ImageFileError
from latentloom.diffusion.images.plugins import Plugin, load
from tests.diffusion.images.images import encoded, marked, oriented, sample

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
STARTS = (
    b"\0\0\0\x18ftypheic" + bytes(20),
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(20),
    b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc" + bytes(20),
)


def like_heic() -> bytes:
    """Return a file with the boxes of a HEIC, whose pixels are not of its kind."""
    return encoded(sample(), "AVIF").replace(b"avif", b"heic")


@pytest.mark.parametrize("data", STARTS)
def test_without_its_package_a_heic_is_named_with_the_package(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "load", lambda _plugin: False)
    with pytest.raises(ImageFileError) as refused:
        read_header(data)
    assert refused.value.got == "a HEIC, which only pillow-heif decodes"
    assert "pip install pillow-heif" in refused.value.hint
    assert identify(data) == "HEIC"


@needs_avif
def test_the_size_of_a_heic_is_known_before_a_decoder_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "load", lambda _plugin: True)
    monkeypatch.setattr(Image, "open", None)
    header = read_header(like_heic())
    assert (header.format, header.width, header.height) == ("HEIC", *sample().size)
    large = like_heic().replace(struct.pack(">II", 12, 7), struct.pack(">II", 9000, 9000))
    with pytest.raises(ImageFileError, match="at most 64 megapixels"):
        read_header(large)
    with pytest.raises(ImageFileError, match="a complete HEIC file"):
        read_header(like_heic()[:-9])


@needs_avif
def test_a_damaged_heic_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(ImageFileError, match="a HEIC image that can be decoded"):
        decode(read_header(like_heic().replace(b"av01", b"hvc1")))


def test_a_heic_gives_nearly_the_pixels_that_were_saved() -> None:
    pytest.importorskip("pillow_heif")
    assert load(plugins.HEIF)
    header = read_header(encoded(marked((128, 64)), "HEIF", quality=95))
    assert (header.width, header.height) == (128, 64)
    difference = np.asarray(decode(header)).astype(int) - np.asarray(marked((128, 64)))
    assert np.abs(difference).mean() < 8  # lossy, at an edge from black to white


def test_a_turned_heic_is_read_upright() -> None:
    pytest.importorskip("pillow_heif")
    assert load(plugins.HEIF)
    turned = decode(read_header(oriented(6, "HEIF")))
    expected = decode(read_header(oriented(6, "JPEG")))
    assert turned.size == expected.size
    difference = np.asarray(turned).astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() < 16  # two lossy codecs


def test_a_plugin_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module, calls = ModuleType("made_up_plugin"), []

    def register() -> None:
        calls.append(1)
        Image.OPEN["MADE_UP"] = Image.OPEN["PNG"]

    monkeypatch.setattr(module, "register", register, raising=False)
    monkeypatch.setitem(sys.modules, "made_up_plugin", module)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    plugin = Plugin("made-up", "made_up_plugin", "register", "MADE_UP")
    assert load(plugin)
    assert load(plugin)
    assert calls == [1]


def test_a_plugin_that_is_not_installed_is_not_loaded() -> None:
    assert not load(Plugin("made-up", "no_such_module", "register", "MADE_UP"))
