"""Autoencoders in tiles: which tiles there are, and how they are faded together."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import VaeWeights
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.vae import decode_tiled, encode_tiled

FACTOR = 8


def blurry(x: Tensor, scale: float) -> Tensor:
    """Another network: what it gives for a place depends on where its tile ends."""
    height, width = (round(side * scale) for side in x.shape[-2:])
    mean = x[:, :3].mean((2, 3), keepdim=True).expand(-1, -1, height, width)
    down, across = (torch.linspace(-0.3, 0.3, side) for side in (height, width))
    return mean * 0.5 + down[:, None] - across


def starts(size: int, tile: int, overlap: int) -> list[int]:
    return [0] if size <= tile else list(range(0, size - overlap, tile - overlap))


def ramp(size: int, width: int) -> Tensor:
    rise = (torch.arange(size) + 1).div(width).clamp(max=1)
    return rise * rise.flip(0)


def mean_of_three(x: Tensor, tile: int, overlap: int, scale: float) -> Tensor:
    """Tall, wide and square tiles, each cell the mean of its tiles by their linear fades."""
    passes = []
    for old_height, old_width in ((2 * tile, tile // 2), (tile // 2, 2 * tile), (tile, tile)):
        places = itertools.product(
            starts(x.shape[-2], old_height, overlap), starts(x.shape[-1], old_width, overlap)
        )
        shape = (len(x), 3, round(x.shape[-2] * scale), round(x.shape[-1] * scale))
        total, weights = torch.zeros(shape), torch.zeros(shape)
        for top, left in places:
            made = blurry(x[..., top : top + old_height, left : left + old_width], scale)
            rows, columns = made.shape[-2:]
            width = round(overlap * scale)
            fade = ramp(rows, width)[:, None] * ramp(columns, width)
            top_px, left_px = round(top * scale), round(left * scale)
            total[..., top_px : top_px + rows, left_px : left_px + columns] += made * fade
            weights[..., top_px : top_px + rows, left_px : left_px + columns] += fade
        passes.append(total / weights)
    return torch.stack(passes).mean(0)


@pytest.mark.parametrize(
    ("tile", "overlap", "cells"), [(64, 16, (8, 2)), (128, 0, (16, 0)), (64, 64, (8, 2))]
)
def test_decoding_is_the_mean_of_three_tilings(
    tiny: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    tile: int,
    overlap: int,
    cells: tuple[int, int],
) -> None:
    def image(_weights: Any, samples: Tensor) -> Tensor:
        return blurry(samples, FACTOR)

    monkeypatch.setattr(VaeWeights, "decode", image)
    samples = torch.randn(2, 4, 20, 34, generator=torch.Generator().manual_seed(3))
    got = decode_tiled(tiny.vae, Latent(samples), tile, overlap)
    # An overlap of more than a quarter of a tile is a quarter.
    want = ((mean_of_three(samples, *cells, FACTOR) + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_encoding_is_the_mean_of_three_tilings(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mean(_weights: Any, pixels: Tensor) -> Tensor:
        return blurry(pixels, 1 / FACTOR)

    monkeypatch.setattr(VaeWeights, "encode", mean)
    pixels = torch.rand(1, 160, 275, 3, generator=torch.Generator().manual_seed(3))
    got = encode_tiled(tiny.vae, pixels, 64, 16).samples
    # 275 is 3 more than a multiple of 8, of which 1 is cut off at the left.
    cut = pixels[:, :, 1:273].movedim(-1, 1) * 2 - 1
    torch.testing.assert_close(got, mean_of_three(cut, 64, 16, 1 / FACTOR), atol=1e-5, rtol=0)
