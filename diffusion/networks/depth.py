"""Depth estimation with a Depth Anything network that the user has installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..images.resize import resize_image
from ..weights.config_file import ConfigFile, read_config
from ..weights.detect import check_weights
from . import devices
from .finite import check_finite
from .handles import NetworkHandle
from .network_files import load_network_folder, load_shared
from .residency import retry_when_out_of_memory
from .weights import Weights

KIND = "DepthAnythingForDepthEstimation"
FILE = "model.safetensors"
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE_PX, PATCH_PX = 518, 14
METRIC = "metric"
MIN_DEPTH_M = 1e-3


class DepthWeights(Weights):
    """A depth estimator."""

    def predict(self, pixels: Tensor) -> Tensor:
        """Return nearness B×h×w, larger is nearer, of normalised pixels B×3×h×w."""
        output: Any = self.module(pixels.to(self.device, self.dtype))
        depth: Tensor = output.predicted_depth.float()
        config: Any = self.module.config
        if config.depth_estimation_type == METRIC:
            return 1.0 / depth.clamp(min=MIN_DEPTH_M)
        return depth


@dataclass(frozen=True, eq=False)
class DepthModel(NetworkHandle):
    """A depth estimator, with the shorter side it was trained at and the side of its patches."""

    weights: DepthWeights
    side_px: int
    patch_px: int


def check_depth(path: Path) -> None:
    """Check that a depth estimator's folder can be loaded.

    Raises:
        ModelFileError: it is incomplete, unsafe, or a different network.
    """
    config = read_config(path / "config.json")
    if config.values.get("architectures") != [KIND]:
        raise config.error("architectures", f"[{KIND!r}]")
    _read_sizes(config)
    check_weights(path, FILE)


def load_depth(path: Path) -> DepthModel:
    """Load Depth Anything, version 1 or 2, from a folder in transformers' layout.

    Raises:
        ModelFileError: it is incomplete, unsafe or corrupt.
    """
    check_depth(path)

    def make(digest: str) -> DepthWeights:
        from transformers import DepthAnythingForDepthEstimation

        dtype = devices.network_dtype()
        module = load_network_folder(DepthAnythingForDepthEstimation, path, dtype)
        module.head.max_depth = module.head.max_depth or 1  # null in some files
        return DepthWeights(module, digest)

    sizes = _read_sizes(read_config(path / "config.json"))
    return DepthModel(load_shared("depth", make, path), *sizes)


def estimate_nearness(model: DepthModel, image: Tensor) -> Tensor:
    """Return depth maps B×H×W×3 in 0..1 of images B×H×W×C: white is nearest, black is farthest.

    Args:
        image: resized for the network to the model's shorter side, in multiples of its patches.

    Source: "Depth Anything V2" (arXiv 2406.09414) and its repository's preparation.
    """
    height, width = image.shape[1:3]
    scale = model.side_px / min(height, width)
    columns, rows = (max(round(side * scale / model.patch_px), 1) for side in (width, height))
    rgb = image[..., :3].expand(*image.shape[:3], 3)
    resized = resize_image(rgb, columns * model.patch_px, rows * model.patch_px, "bicubic")
    pixels = ((resized.clamp(0, 1) - torch.tensor(MEAN)) / torch.tensor(SPREAD)).movedim(-1, 1)

    def predict() -> Tensor:
        with model.weights.use():
            depths = torch.cat([model.weights.predict(one[None]).cpu() for one in pixels])
        check_finite("the depth network", depths)
        return depths.clone()

    near = resize_image(retry_when_out_of_memory(predict).unsqueeze(-1), width, height, "bilinear")
    low, high = near.amin((1, 2), keepdim=True), near.amax((1, 2), keepdim=True)
    return ((near - low) / (high - low).clamp(min=1e-6)).repeat(1, 1, 1, 3)


def _read_sizes(config: ConfigFile) -> tuple[int, int]:
    """Read the shorter side and the side of a patch, in pixels."""
    backbone = config.values.get("backbone_config")
    if not isinstance(backbone, dict):
        raise config.error("backbone_config", "the encoder's configuration")
    own = ConfigFile(config.name, backbone)
    return own.read_count("image_size", SIDE_PX), own.read_count("patch_size", PATCH_PX)
