"""Tiled sampling: the content of tiles, their blending, and the number of model calls."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import with_inpaint_mask
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.families.conditions import InpaintMask
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.tiled_model import TiledModel, TileWindow
from latentloom.diffusion.sampling.hooks import Hooks
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from tests.tiny_model import write_tiny_model

PLAN = SamplePlan(seed=3, steps=2, cfg=1.0, sampler="euler", scheduler="normal")


def sampled(
    tiny: Checkpoint, tiling: TiledModel | None, size: tuple[int, int]
) -> tuple[Tensor, int]:
    """Sample from the tiny model; return the samples and the number of calls."""
    calls: list[None] = []
    model = tiny.model if tiling is None else replace(tiny.model, patches=(tiling,))
    prompt = encode_text(tiny.clip, "a fox")
    latent = Latent(torch.zeros(1, 4, *size))
    hooks = Hooks(on_call=lambda: calls.append(None))
    return sample(model, latent, prompt, prompt, PLAN, hooks).samples, len(calls)


def test_a_latent_of_one_tile_is_sampled_as_without_tiles(tiny: Checkpoint) -> None:
    plain, _ = sampled(tiny, None, (8, 8))
    tiled, calls = sampled(tiny, TiledModel(8, 8, 4), (8, 8))
    torch.testing.assert_close(tiled, plain, atol=1e-4, rtol=1e-5)
    assert calls == 2


def test_each_tile_is_a_call_of_the_model(tiny: Checkpoint) -> None:
    samples, calls = sampled(tiny, TiledModel(8, 8, 4), (8, 16))
    assert samples.shape == (1, 4, 8, 16)
    assert calls == 2 * 3


@pytest.mark.parametrize(("height", "width", "overlap"), [(10, 17, 2), (23, 9, 4), (8, 30, 0)])
def test_tiles_have_full_size_and_cover_the_latent(height: int, width: int, overlap: int) -> None:
    seen: list[tuple[int, int]] = []
    x = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)

    def network(tile: Tensor, window: TileWindow) -> Tensor:
        assert tile.shape[-2:] == (8, 8)
        assert torch.equal(window.crop(x, 8, 8), tile)
        seen.append((window.top, window.left))
        return tile

    torch.testing.assert_close(TiledModel(8, 8, overlap).predict(network, x), x)
    assert max(seen) == (height - 8, width - 8)
    rows = sorted({top for top, _ in seen})
    assert all(below - above <= 8 - overlap for above, below in pairwise(rows))


def test_tiles_that_disagree_are_blended(tiny: Checkpoint) -> None:
    """Each tile predicts another constant; no step is larger than the fade's."""
    constants = iter((0.0, 1.0, 2.0))

    def network(tile: Tensor, _window: TileWindow) -> Tensor:
        return torch.full_like(tile, next(constants))

    row = TiledModel(8, 8, 4).predict(network, torch.zeros(1, 1, 8, 16))[0, 0, 0]
    assert float((row[1:] - row[:-1]).abs().max()) <= 0.5
    assert row[0] == 0.0
    assert row[-1] == 2.0


def test_the_inpaint_mask_is_tiled_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_tiny_model(tmp_path_factory.mktemp("m") / "nine", in_channels=9)
    nine = load_checkpoint(folder)
    prompt = with_inpaint_mask(
        encode_text(nine.clip, "a fox"),
        InpaintMask(torch.ones(1, 64, 128), torch.randn(1, 4, 8, 16)),
    )
    model = replace(nine.model, patches=(TiledModel(8, 8, 4),))
    samples = sample(model, Latent(torch.zeros(1, 4, 8, 16)), prompt, prompt, PLAN).samples
    assert samples.shape == (1, 4, 8, 16)
    assert float(samples.std()) > 0
