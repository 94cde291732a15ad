"""The kernels against torch in float64: on a GPU if there is one, else by Triton's interpreter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

pytest.importorskip("triton")
fused: Any = pytest.importorskip("latentloom.diffusion.networks.fast.fused")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16)
# Shares of the spread of the values: of float32's sums, and of one rounding to float16.
BOUNDS = {torch.float32: 1e-5, torch.float16: 2e-3}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def image(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    x = numbers(*shape, dtype=dtype, seed=seed) * 2 + 0.5
    return x.contiguous(memory_format=torch.channels_last)


def make_norm(groups: int, channels: int, dtype: torch.dtype) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, channels, eps=1e-5).to(DEVICE, dtype).requires_grad_(False)
    norm.weight.copy_(numbers(channels, seed=1))
    norm.bias.copy_(numbers(channels, seed=2))
    return norm


def assert_near(got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape
    error = (got.double() - wanted).abs().max()
    assert error <= BOUNDS[got.dtype] * wanted.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("added_rows", [0, 1, 2])
@pytest.mark.parametrize(
    ("groups", "channels", "height", "width"),
    [(4, 40, 3, 5), (1, 24, 4, 4), (32, 64, 8, 8), (3, 96, 9, 15)],
    ids=["odd", "one group", "even", "uneven"],
)
@pytest.mark.parametrize("two_passes", [False, True])
def test_group_norm(
    monkeypatch: pytest.MonkeyPatch, two_passes: bool, dtype: torch.dtype, silu: bool,
    added_rows: int, groups: int, channels: int, height: int, width: int,
) -> None:  # fmt: skip
    if two_passes:
        monkeypatch.setattr(fused, "MAX_GROUP_VALUES", 0)
    x, norm = image(2, channels, height, width, dtype=dtype), make_norm(groups, channels, dtype)
    added = numbers(added_rows, 3 * channels, dtype=dtype, seed=3)[:, channels : 2 * channels]
    got = fused.group_norm(x, norm, silu=silu, added=added if added_rows else None)
    total = x.double() + (added.double()[:, :, None, None] if added_rows else 0.0)
    weight, bias = norm.weight.double(), norm.bias.double()
    wanted = functional.group_norm(total, groups, weight, bias, norm.eps)
    assert_near(got, functional.silu(wanted) if silu else wanted)
    assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("pixels", [4096, 4100])
def test_group_norm_of_a_large_image(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    monkeypatch.setattr(fused, "MAX_GROUP_VALUES", 0)
    x, norm = image(1, 8, 4, pixels // 4, dtype=torch.float32), make_norm(2, 8, torch.float32)
    weight, bias = norm.weight.double(), norm.bias.double()
    wanted = functional.group_norm(x.double(), 2, weight, bias, norm.eps)
    assert_near(fused.group_norm(x, norm, silu=False), wanted)


def test_group_norm_of_a_large_mean_keeps_its_small_deviation() -> None:
    x = image(1, 32, 8, 8, dtype=torch.float32) * 1e-2 + 30
    norm = make_norm(4, 32, torch.float32)
    weight, bias = norm.weight.double(), norm.bias.double()
    wanted = functional.group_norm(x.double(), 4, weight, bias, norm.eps)
    error = (fused.group_norm(x, norm, silu=False).double() - wanted).abs().max()
    assert error <= 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [40, 128])
def test_add_with_bias(dtype: torch.dtype, channels: int) -> None:
    x, skip = (image(2, channels, 5, 3, dtype=dtype, seed=seed) for seed in (0, 1))
    bias = numbers(channels, dtype=dtype, seed=2)
    wanted = x.double() + bias.double()[None, :, None, None] + skip.double()
    assert_near(fused.add_with_bias(x, bias, skip), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [24, 320])
def test_layer_norm(dtype: torch.dtype, channels: int) -> None:
    x, added = (numbers(2, 7, channels, dtype=dtype, seed=seed) for seed in (0, 1))
    norm = nn.LayerNorm(channels).to(DEVICE, dtype).requires_grad_(False)
    norm.weight.copy_(numbers(channels, seed=2))
    norm.bias.copy_(numbers(channels, seed=3))

    def normalise(values: Tensor) -> Tensor:
        weight, bias = norm.weight.double(), norm.bias.double()
        return functional.layer_norm(values, (channels,), weight, bias, norm.eps)

    assert_near(fused.layer_norm(x, norm), normalise(x.double()))
    total, normed = fused.add_layer_norm(x, added, norm)
    assert_near(total, x.double() + added.double())
    assert_near(normed, normalise(x.double() + added.double()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [12, 300])
def test_gated_gelu(dtype: torch.dtype, width: int) -> None:
    x = numbers(2, 9, 2 * width, dtype=dtype)
    a, b = x.double().chunk(2, dim=-1)
    assert_near(fused.gated_gelu(x), a * functional.gelu(b))
