"""Upscaling networks: read from every layout, equal to their formulas, tiled without seams."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.tiles import apply_in_tiles, count_tiles
from latentloom.diffusion.networks.upscale import load_upscaler, upscale
from latentloom.diffusion.networks.upscale_nets import CompactNet, RrdbNet
from latentloom.diffusion.weights.parameters import compact_sizes, rrdb_sizes
from latentloom.diffusion.weights.upscale_file import read_upscale_network

Keys = dict[str, Tensor]
FEATURES, GROWTH, BLOCKS = 8, 4, 2


def conv(keys: Keys, name: str, inputs: int, outputs: int, generator: torch.Generator) -> None:
    keys[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.1
    keys[f"{name}.bias"] = torch.rand(outputs, generator=generator) * 0.2


def first_release(ups: int = 2, channels: int = 3) -> Keys:
    """Return random weights by the names of ESRGAN's first release."""
    keys: Keys = {}
    generator = torch.Generator().manual_seed(6)
    conv(keys, "model.0", channels, FEATURES, generator)
    for block in range(BLOCKS):
        for dense in (1, 2, 3):
            for index in range(1, 6):
                name = f"model.1.sub.{block}.RDB{dense}.conv{index}.0"
                outputs = GROWTH if index < 5 else FEATURES
                conv(keys, name, FEATURES + (index - 1) * GROWTH, outputs, generator)
    conv(keys, f"model.1.sub.{BLOCKS}", FEATURES, FEATURES, generator)
    for up in range(ups):
        conv(keys, f"model.{3 * up + 3}", FEATURES, FEATURES, generator)
    conv(keys, f"model.{3 * ups + 2}", FEATURES, FEATURES, generator)
    conv(keys, f"model.{3 * ups + 4}", FEATURES, 3, generator)
    return keys


def by_formula(keys: Keys, x: Tensor, ups: int) -> Tensor:
    """Evaluate the network of arXiv 1809.00219, written out over its keys."""

    def layer(name: str, value: Tensor) -> Tensor:
        return conv2d(value, keys[f"{name}.weight"], keys[f"{name}.bias"], padding=1)

    first = x = layer("model.0", x)
    for block in range(BLOCKS):
        block_input = x
        for dense in (1, 2, 3):
            name = f"model.1.sub.{block}.RDB{dense}.conv"
            features = [x]
            for index in range(1, 5):
                conv_output = layer(f"{name}{index}.0", torch.cat(features, 1))
                features.append(leaky_relu(conv_output, 0.2))
            x = x + 0.2 * layer(f"{name}5.0", torch.cat(features, 1))
        x = block_input + 0.2 * x
    x = first + layer(f"model.1.sub.{BLOCKS}", x)
    for up in range(ups):
        x = leaky_relu(layer(f"model.{3 * up + 3}", interpolate(x, scale_factor=2)), 0.2)
    x = leaky_relu(layer(f"model.{3 * ups + 2}", x), 0.2)
    return layer(f"model.{3 * ups + 4}", x)


def rename(keys: Keys, names: dict[str, str], dense: str) -> Keys:
    """Return the same weights by other names."""
    renamed = {}
    for name, weight in keys.items():
        name = re.sub(r"model\.1\.sub\.(\d+)\.RDB(\d)\.(conv\d)\.0", rf"\1.{dense}\2.\3", name)
        for old, new in names.items():
            name = re.sub(rf"^{re.escape(old)}\.(weight|bias)$", rf"{new}.\1", name)
        renamed[re.sub(r"^(\d)", rf"{names['trunk']}.\1", name)] = weight
    return renamed


REAL = {
    "model.0": "conv_first", f"model.1.sub.{BLOCKS}": "conv_body", "model.3": "conv_up1",
    "model.6": "conv_up2", "model.8": "conv_hr", "model.10": "conv_last", "trunk": "body",
}  # fmt: skip
TEST_CODE = {
    "model.0": "conv_first", f"model.1.sub.{BLOCKS}": "trunk_conv", "model.3": "upconv1",
    "model.6": "upconv2", "model.8": "HRconv", "model.10": "conv_last", "trunk": "RRDB_trunk",
}  # fmt: skip


def write(folder: Path, keys: Keys) -> Path:
    path = folder / "net.safetensors"
    save_file({name: weight.contiguous() for name, weight in keys.items()}, path)
    return path


def silent(_done: int, _total: int) -> None:
    return None


def photo(height: int = 13, width: int = 10) -> Tensor:
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("ups", [0, 1, 2, 3])
def test_a_network_of_the_first_release_equals_its_formula(tmp_path: Path, ups: int) -> None:
    keys = first_release(ups)
    model = load_upscaler(write(tmp_path, keys))
    assert model.scale == 2**ups
    expected = by_formula(keys, photo().movedim(-1, 1), ups).clamp(0, 1).movedim(1, -1)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(upscale(model, photo(), silent), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("names", "dense"), [(REAL, "rdb"), (TEST_CODE, "RDB")])
@pytest.mark.parametrize("wrapper", ["", "params_ema."])
def test_the_same_weights_by_other_names_are_the_same_network(
    tmp_path: Path, names: dict[str, str], dense: str, wrapper: str
) -> None:
    renamed = rename(first_release(), names, dense)
    path = write(tmp_path, {wrapper + name: weight for name, weight in renamed.items()})
    got = upscale(load_upscaler(path), photo(), silent)
    expected = by_formula(first_release(), photo().movedim(-1, 1), 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


def test_a_network_with_unshuffle_takes_any_size(tmp_path: Path) -> None:
    keys = first_release(channels=12)
    model = load_upscaler(write(tmp_path, rename(keys, REAL, "rdb")))
    assert model.scale == 2
    unshuffled = pixel_unshuffle(photo(12, 10).movedim(-1, 1), 2)
    expected = by_formula(keys, unshuffled, 2).clamp(0, 1).movedim(1, -1)
    got = upscale(model, photo(12, 10), silent)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert upscale(model, photo(13, 9), silent).shape == (1, 26, 18, 3)


def compact(scale: int) -> Keys:
    keys: Keys = {}
    generator = torch.Generator().manual_seed(6)
    conv(keys, "body.0", 3, FEATURES, generator)
    conv(keys, "body.2", FEATURES, FEATURES, generator)
    conv(keys, "body.4", FEATURES, 3 * scale**2, generator)
    for index in (1, 3):
        keys[f"body.{index}.weight"] = torch.rand(FEATURES, generator=generator)
    return keys


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_compact_network_equals_its_formula(tmp_path: Path, scale: int) -> None:
    keys = compact(scale)
    model = load_upscaler(write(tmp_path, keys))
    pixels = x = photo().movedim(-1, 1)
    for index in (0, 2, 4):
        x = conv2d(x, keys[f"body.{index}.weight"], keys[f"body.{index}.bias"], padding=1)
        slope = keys.get(f"body.{index + 1}.weight", torch.ones(1))[:, None, None]
        x = torch.where(x > 0, x, x * slope)
    expected = pixel_shuffle(x, scale) + interpolate(pixels, scale_factor=scale)
    assert model.scale == scale
    torch.testing.assert_close(
        upscale(model, photo(), silent), expected.clamp(0, 1).movedim(1, -1), atol=1e-6, rtol=0
    )


def test_a_large_image_is_upscaled_in_tiles_without_a_seam(tmp_path: Path) -> None:
    keys = compact(2)
    model = load_upscaler(write(tmp_path, keys))
    image, steps = photo(40, 700), list[tuple[int, int]]()
    tiled = upscale(model, image, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
    with torch.no_grad():
        untiled = model.weights.module(image.movedim(-1, 1)).clamp(0, 1).movedim(1, -1)
    # Three convolutions reach three pixels; only those at the edges differ, and they are faded.
    assert float((tiled - untiled).abs().max()) < 0.05
    torch.testing.assert_close(tiled[:, :, :900], untiled[:, :, :900], atol=1e-5, rtol=0)


def test_out_of_memory_halves_the_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_upscaler(write(tmp_path, compact(2)))
    sides: list[int] = []
    run = type(model.weights.module).forward

    def short(module: torch.nn.Module, x: Tensor) -> Tensor:
        sides.append(x.shape[-1])
        if x.shape[-1] > 128:
            raise torch.OutOfMemoryError("too large")
        output: Tensor = run(module, x)
        return output

    monkeypatch.setattr(type(model.weights.module), "forward", short)
    assert upscale(model, photo(20, 300), silent).shape == (1, 40, 600, 3)
    assert sides[:3] == [300, 256, 128]


def test_grey_images_and_batches_are_upscaled(tmp_path: Path) -> None:
    model = load_upscaler(write(tmp_path, compact(2)))
    grey = torch.rand(2, 6, 5, 1)
    assert upscale(model, grey, silent).shape == (2, 12, 10, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"model.0.weight": torch.zeros(8, 5, 3, 3)},
        {"model.99.weight": torch.zeros(3)},
        {"other": torch.zeros(1)},
    ],
)
def test_other_networks_are_rejected(tmp_path: Path, change: Keys) -> None:
    path = write(tmp_path, {**first_release(), **change})
    with pytest.raises(ModelFileError, match=r"net\.safetensors"):
        read_upscale_network(path)


def test_a_missing_weight_is_named_by_the_check(tmp_path: Path) -> None:
    keys = first_release()
    del keys["model.1.sub.1.RDB2.conv3.0.bias"]
    with pytest.raises(ModelFileError, match=r"lacks the weights body\.1\.rdb2\.conv3\.bias"):
        read_upscale_network(write(tmp_path, keys))
    keys = compact(2)
    del keys["body.2.bias"]
    with pytest.raises(ModelFileError, match=r"lacks the weights body\.2\.bias"):
        read_upscale_network(write(tmp_path, keys))


def test_an_unknown_or_misshapen_weight_is_named_by_the_check(tmp_path: Path) -> None:
    unknown = {**compact(2), "body.2.scale_weight": torch.ones(1)}
    with pytest.raises(ModelFileError, match=r"body\.2\.scale_weight is not a weight"):
        read_upscale_network(write(tmp_path, unknown))
    misshapen = {**first_release(), "model.10.bias": torch.ones(5)}
    with pytest.raises(ModelFileError, match=r"model\.10\.bias: expected 3 numbers"):
        read_upscale_network(write(tmp_path, misshapen))


@pytest.mark.parametrize(("ups", "unshuffle"), [(0, 1), (2, 1), (2, 2)])
def test_an_rrdb_network_has_these_parameters(ups: int, unshuffle: int) -> None:
    config = {"features": 8, "growth": 4, "blocks": 2, "ups": ups, "unshuffle": unshuffle}
    weights = RrdbNet(**config).state_dict()
    assert dict(rrdb_sizes(config)) == {name: value.numel() for name, value in weights.items()}


@pytest.mark.parametrize("layers", [0, 3])
def test_a_compact_network_has_these_parameters(layers: int) -> None:
    config = {"features": 8, "layers": layers, "scale": 4}
    weights = CompactNet(**config).state_dict()
    assert dict(compact_sizes(config)) == {name: value.numel() for name, value in weights.items()}


@pytest.mark.parametrize(("size", "tile", "overlap"), [(9, 4, 1), (9, 4, 3), (4, 4, 2), (3, 9, 4)])
def test_tiles_of_the_identity_are_the_identity(size: int, tile: int, overlap: int) -> None:
    x, seen = torch.rand(2, 3, size, size + 2), list[tuple[int, int]]()

    def identity(tile: Tensor, top: int, left: int) -> Tensor:
        seen.append((top, left))
        return tile

    torch.testing.assert_close(apply_in_tiles(identity, x, (tile, tile), overlap), x)
    assert len(seen) == count_tiles(size, size + 2, tile, overlap)
