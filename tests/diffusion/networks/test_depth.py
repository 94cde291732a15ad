"""Depth by a small Depth Anything of the real class with random weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.depth import (
    DepthModel,
    check_depth,
    estimate_nearness,
    load_depth,
)


def write_depth(folder: Path, kind: str = "relative") -> Path:
    """Write a network for images of 28 pixels in patches of 14."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import (
            DepthAnythingConfig,
            DepthAnythingForDepthEstimation,
            Dinov2Config,
        )

        torch.manual_seed(3)
        backbone = Dinov2Config(
            hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28,
            patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
        )  # fmt: skip
        config = DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[4, 8, 8, 8],
            fusion_hidden_size=8, head_hidden_size=4, patch_size=14, depth_estimation_type=kind,
            max_depth=20 if kind == "metric" else None,
        )  # fmt: skip
        network = DepthAnythingForDepthEstimation(config)
        for parameter in network.parameters():
            parameter.data.normal_(0.0, 0.3)
        network.get_parameter("head.conv3.bias").data.fill_(20.0)
        network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DepthModel:
    return load_depth(write_depth(tmp_path_factory.mktemp("depth") / "small"))


IMAGE = torch.rand(2, 30, 44, 3, generator=torch.Generator().manual_seed(1))


def test_each_depth_map_is_grey_from_black_to_white(model: DepthModel) -> None:
    got = estimate_nearness(model, IMAGE)
    assert got.shape == IMAGE.shape
    assert torch.equal(got[..., 0], got[..., 2])
    assert got.amin((1, 2, 3)).tolist() == [0.0, 0.0]
    assert got.amax((1, 2, 3)).tolist() == pytest.approx([1.0, 1.0])


def test_the_images_of_a_batch_are_independent(model: DepthModel) -> None:
    torch.testing.assert_close(
        estimate_nearness(model, IMAGE)[1:], estimate_nearness(model, IMAGE[1:])
    )


def test_the_network_receives_complete_patches_normalised(
    model: DepthModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def predict(_weights: Any, pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return pixels[:, 0]

    monkeypatch.setattr("latentloom.diffusion.networks.depth.DepthWeights.predict", predict)
    white = torch.ones(1, 30, 44, 3)
    estimate_nearness(model, white)
    assert seen[0].shape == (1, 3, 28, 42)
    assert float(seen[0][0, 0].max()) == pytest.approx((1 - 0.485) / 0.229, rel=1e-4)


def test_nearer_is_brighter_for_both_kinds_of_depth(tmp_path: Path) -> None:
    """A metric network returns less where it is nearer."""
    metric = load_depth(write_depth(tmp_path / "metric", "metric"))
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    with metric.weights.use():
        near = metric.weights.predict(pixels)
        module: Any = metric.weights.module
        metres = module(pixels).predicted_depth
    torch.testing.assert_close(near, 1 / metres.clamp(min=1e-3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["CLIPModel"]}, "architectures: expected"),
        ({"backbone_config": None}, "backbone_config: expected"),
        ({"backbone_config": {"patch_size": 0}}, "patch_size: expected"),
    ],
)
def test_another_network_is_rejected(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = write_depth(tmp_path / "depth")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelFileError, match=message):
        check_depth(folder)


def test_a_folder_without_weights_is_rejected(tmp_path: Path) -> None:
    folder = write_depth(tmp_path / "depth")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"expected model\.safetensors, got a folder"):
        check_depth(folder)
