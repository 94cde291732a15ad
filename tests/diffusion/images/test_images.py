"""Conversion between image files and IMAGE tensors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latentloom.diffusion.images.images import encode_png, load, load_mask, to_bytes, to_pillow
from tests.diffusion.images.images import encoded, oriented, sample


def file(folder: Path, image: Image.Image, format: str = "PNG") -> Path:
    path = folder / "image.png"
    path.write_bytes(encoded(image, format))
    return path


def test_values_are_the_levels_over_255(tmp_path: Path) -> None:
    source = sample()
    image, mask = load(file(tmp_path, source))
    assert image.shape == (1, 7, 12, 3)
    assert image.dtype == mask.dtype == torch.float32
    assert np.array_equal(image[0].numpy(), np.asarray(source).astype(np.float32) / 255)
    assert torch.equal(mask, torch.zeros(1, 64, 64))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_becomes_the_mask_and_colours_stay(format: str, tmp_path: Path) -> None:
    source = sample("RGBA")
    path = tmp_path / "image"
    path.write_bytes(
        encoded(source, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    )
    image, mask = load(path)
    levels = np.asarray(source).astype(np.float32) / 255
    assert np.array_equal(image[0].numpy(), levels[..., :3])
    assert np.array_equal(mask[0].numpy(), np.float32(1) - levels[..., 3])


def test_palette_transparency_becomes_the_mask(tmp_path: Path) -> None:
    source = Image.new("P", (2, 1))
    source.putpalette([255, 0, 0, 0, 0, 255])
    source.putpixel((1, 0), 1)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(source, "PNG", transparency=1))
    image, mask = load(path)
    assert image[0, 0].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert mask[0, 0].tolist() == [0, 1]


def test_a_colour_key_becomes_the_mask(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encoded(Image.new("RGB", (2, 1), (9, 8, 7)), "PNG", transparency=(9, 8, 7)))
    assert load(path).mask.flatten().tolist() == [1, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_a_png_gives_three_channels(mode: str, tmp_path: Path) -> None:
    image, _mask = load(file(tmp_path, sample("RGB").convert(mode)))
    assert image.shape == (1, 7, 12, 3)
    assert bool(((image >= 0) & (image <= 1)).all())


def test_cmyk_jpeg_gives_three_channels(tmp_path: Path) -> None:
    assert load(file(tmp_path, sample("RGB").convert("CMYK"), "JPEG")).image.shape == (1, 7, 12, 3)


def test_sixteen_bit_grey_keeps_its_precision(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 32768, 65535]], dtype=np.uint16)
    image, mask = load(file(tmp_path, Image.fromarray(levels)))
    expected = torch.tensor([0, 1, 32768, 65535]) / 65535
    assert torch.equal(image[0, 0], expected[:, None].expand(4, 3))
    assert mask.shape == (1, 64, 64)


def test_a_transparent_level_of_sixteen_bit_grey_becomes_the_mask(tmp_path: Path) -> None:
    levels = np.array([[0, 256, 40_000]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png", transparency=256)
    image, mask = load(tmp_path / "a.png")
    assert torch.equal(mask, torch.tensor([[[0.0, 1.0, 0.0]]]))
    assert image[0, 0, :, 0].mul(65_535).round().int().tolist() == levels[0].tolist()


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(oriented(3))
    image = load(path).image
    assert image.shape == (1, 8, 16, 3)
    assert float(image[0, 6:, 12:].mean()) > 0.9 > 0.1 > float(image[0, :2, :4].mean())


@pytest.mark.parametrize(("channel", "index"), [("red", 0), ("green", 1), ("blue", 2)])
def test_a_mask_is_a_channel_of_the_file(channel: str, index: int, tmp_path: Path) -> None:
    image = sample("RGBA")
    mask = load_mask(file(tmp_path, image), channel)
    assert np.array_equal(mask[0].numpy(), np.asarray(image)[..., index].astype(np.float32) / 255)


@pytest.mark.parametrize("size", [(12, 7), (64, 64)])
def test_the_alpha_mask_of_an_opaque_file_is_zeros_of_its_size(
    size: tuple[int, int], tmp_path: Path
) -> None:
    assert torch.equal(
        load_mask(file(tmp_path, sample(size=size)), "alpha"), torch.zeros(1, *size[::-1])
    )


def test_levels_are_truncated_not_rounded() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 0.9999, 1.0, 7.0, torch.nan, torch.inf, -torch.inf])
    assert to_bytes(values).tolist() == [0, 0, 127, 254, 255, 255, 0, 255, 0]


def test_all_levels_survive_a_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(levels / 255.0), levels)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from((1, 3, 4)), st.integers(0, 2**31))
def test_a_saved_image_loads_with_the_same_bytes(
    height: int, width: int, channels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (height, width, channels), generator=generator)
    with Image.open(io.BytesIO(encode_png(levels / 255.0))) as image:
        assert np.array_equal(np.asarray(image).reshape(height, width, channels), levels.numpy())


def test_text_of_any_characters_is_embedded() -> None:
    text = {"prompt": '{"1": "a"}', "latentloom": '{"title": "Ünï → 漢字 🦊"}'}
    with Image.open(io.BytesIO(encode_png(torch.zeros(1, 1, 3), text))) as image:
        assert image.info == text


@pytest.mark.parametrize("shape", [(4, 4, 2), (0, 4, 3), (4, 4)])
def test_tensors_of_other_shapes_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        to_pillow(torch.zeros(shape))
