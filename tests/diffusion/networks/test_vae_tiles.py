"""Autoencoders in tiles: the tiles and how they are blended."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.vae import decode_tiled, encode_tiled
from latentloom.diffusion.networks.weights import VaeWeights

FACTOR = 8


def blurry(x: Tensor, scale: float) -> Tensor:
    """Stand for a network whose output depends on where a tile ends."""
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
    """Average passes with tall, wide and square tiles, weighted by linear fades."""
    passes = []
    for height, width in ((2 * tile, tile // 2), (tile // 2, 2 * tile), (tile, tile)):
        positions = itertools.product(
            starts(x.shape[-2], height, overlap), starts(x.shape[-1], width, overlap)
        )
        shape = (len(x), 3, round(x.shape[-2] * scale), round(x.shape[-1] * scale))
        total, weights = torch.zeros(shape), torch.zeros(shape)
        for top, left in positions:
            made = blurry(x[..., top : top + height, left : left + width], scale)
            rows, columns = made.shape[-2:]
            length = round(overlap * scale)
            fade = ramp(rows, length)[:, None] * ramp(columns, length)
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
    def decode(_weights: Any, samples: Tensor) -> Tensor:
        return blurry(samples, FACTOR)

    monkeypatch.setattr(VaeWeights, "decode", decode)
    samples = torch.randn(2, 4, 20, 34, generator=torch.Generator().manual_seed(3))
    got = decode_tiled(tiny.vae, Latent(samples), tile, overlap)
    # An overlap of more than a quarter of a tile is a quarter.
    expected = ((mean_of_three(samples, *cells, FACTOR) + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_encoding_is_the_mean_of_three_tilings(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(_weights: Any, pixels: Tensor) -> Tensor:
        return blurry(pixels, 1 / FACTOR)

    monkeypatch.setattr(VaeWeights, "encode", encode)
    pixels = torch.rand(1, 160, 275, 3, generator=torch.Generator().manual_seed(3))
    got = encode_tiled(tiny.vae, pixels, 64, 16).samples
    # 275 is 3 more than a multiple of 8; 1 of the 3 is cropped at the left.
    cropped = pixels[:, :, 1:273].movedim(-1, 1) * 2 - 1
    torch.testing.assert_close(got, mean_of_three(cropped, 64, 16, 1 / FACTOR), atol=1e-5, rtol=0)
