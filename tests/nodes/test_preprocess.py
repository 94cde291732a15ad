"""Preprocessor nodes: sizes and errors; tests/diffusion tests the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import latentloom
from latentloom.engine.errors import GraphError, InputError
from latentloom.engine.execution.executor import Engine
from latentloom.nodes import preprocess
from tests.diffusion.networks.test_depth import write_depth


def test_canny_finds_the_outline_of_a_square() -> None:
    image = torch.zeros(1, 32, 32, 3)
    image[:, 8:24, 8:24] = 1.0
    edges = preprocess.canny(image)
    assert edges.shape == image.shape
    assert edges[:, 12:20, 12:20].count_nonzero() == 0
    assert edges[0, 16, :, 0].sum() == 2


def test_canny_rejects_swapped_thresholds_and_tiny_images() -> None:
    with pytest.raises(InputError, match=r"low_threshold: .*0\.4.*0\.8") as refused:
        preprocess.canny(torch.zeros(1, 8, 8, 3), 0.8, 0.4)
    assert refused.value.hint == "swap the two"
    with pytest.raises(InputError, match=r"image"):
        preprocess.canny(torch.zeros(1, 2, 8, 3))


@pytest.mark.parametrize(
    "make",
    [
        preprocess.tile_preprocessor,
        preprocess.color_preprocessor,
        preprocess.shuffle_preprocessor,
        preprocess.scribble_preprocessor,
        preprocess.lineart_standard_preprocessor,
        preprocess.binary_preprocessor,
    ],
)
def test_preprocessors_give_images_of_the_resolution(make: Callable[..., torch.Tensor]) -> None:
    image = torch.rand(2, 48, 96, 4)
    before = image.clone()
    got = make(image, resolution=64)
    assert got.shape == (2, 64, 128, 3)
    assert 0 <= float(got.min()) <= float(got.max()) <= 1
    assert torch.equal(image, before)


def test_masked_pixels_are_marked() -> None:
    image, mask = torch.rand(1, 8, 8, 3), torch.ones(1, 8, 8)
    assert bool((preprocess.inpaint_preprocessor(image, mask) == -1).all())
    assert not preprocess.inpaint_preprocessor(image, mask, True).any()


def test_depth_uses_an_installed_network(engine: Engine, models: Path) -> None:
    write_depth(models / "depth_estimation" / "small")
    b = latentloom.build()
    image = b.EmptyImage(width=64, height=96, color=0x336699)
    b.DepthAnythingV2Preprocessor(image=image, ckpt_name="small", resolution=64, id="depth")
    result = engine.run(b.graph, targets=["depth"])
    assert result.errors == ()
    assert result["depth"].shape == (1, 96, 64, 3)


@pytest.mark.usefixtures("models")
def test_a_missing_depth_network_is_reported_before_the_run() -> None:
    b = latentloom.build()
    with pytest.raises(GraphError, match=r"\(depth\) \.ckpt_name: expected .*, got 'none'"):
        b.DepthAnythingV2Preprocessor(image=b.EmptyImage(), ckpt_name="none", id="depth")
