"""How near each pixel is, by a network that the user has installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelFileError
from ..images.resize import resize_image
from ..weights.config_file import ConfigFile, read_config
from ..weights.detect import check_weights
from . import devices
from .handles import NetworkHandle, Weights
from .network_files import load_network_folder, load_shared
from .residency import retry_when_out_of_memory

KIND = "DepthAnythingForDepthEstimation"
FILE = "model.safetensors"
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE_PX, PATCH_PX = 518, 14
METRIC = "metric"
# Nearer than this, in metres, counts as this near.
NEAREST = 1e-3


class DepthWeights(Weights):
    """A depth estimator."""

    def predict(self, pixels: Tensor) -> Tensor:
        """B×h×w, larger where it is nearer, of normalised pixels B×3×h×w."""
        output: Any = self.module(pixels.to(self.device, self.dtype))
        depth: Tensor = output.predicted_depth.float()
        config: Any = self.module.config
        if config.depth_estimation_type == METRIC:
            return 1.0 / depth.clamp(min=NEAREST)
        return depth


@dataclass(frozen=True, eq=False)
class DepthModel(NetworkHandle):
    """A depth estimator with what it was trained at: the shorter side, and its patches' side."""

    weights: DepthWeights
    side_px: int
    patch_px: int


def check_depth(path: Path) -> None:
    """Whether a depth estimator's folder can be loaded.

    Raises:
        ModelFileError: it is incomplete, unsafe, or holds another network.
    """
    config = read_config(path / "config.json")
    if config.values.get("architectures") != [KIND]:
        raise config.wrong("architectures", f"[{KIND!r}]")
    _sizes(config)
    check_weights(path, FILE)


def load_depth(path: Path) -> DepthModel:
    """Depth Anything, version 1 or 2, from a folder of transformers.

    Raises:
        ModelFileError: it is incomplete, unsafe or damaged.
    """
    check_depth(path)

    def make(digest: str) -> DepthWeights:
        from transformers import DepthAnythingForDepthEstimation

        kind = DepthAnythingForDepthEstimation
        module = load_network_folder(kind, path, devices.network_dtype())
        module.head.max_depth = module.head.max_depth or 1  # null in some files
        return DepthWeights(module, digest)

    sizes = _sizes(read_config(path / "config.json"))
    return DepthModel(load_shared("depth", make, path), *sizes)


def estimate_nearness(model: DepthModel, image: Tensor) -> Tensor:
    """Images of B×H×W×C in 0..1, white where they show what is nearest, black the farthest.

    Args:
        image: seen with its shorter side at the model's size, sides being whole patches.

    Source: "Depth Anything V2" (arXiv 2406.09414) and its repository's preparation.
    """
    height, width = image.shape[1:3]
    scale = model.side_px / min(height, width)
    columns, rows = (max(round(side * scale / model.patch_px), 1) for side in (width, height))
    rgb = image[..., :3].expand(*image.shape[:3], 3)
    seen = resize_image(rgb, columns * model.patch_px, rows * model.patch_px, "bicubic").clamp(0, 1)
    pixels = ((seen - torch.tensor(MEAN)) / torch.tensor(SPREAD)).movedim(-1, 1)

    def work() -> Tensor:
        with model.weights.use():
            return torch.cat([model.weights.predict(one[None]).cpu().clone() for one in pixels])

    near = resize_image(retry_when_out_of_memory(work).unsqueeze(-1), width, height, "bilinear")
    low, most = near.amin((1, 2), keepdim=True), near.amax((1, 2), keepdim=True)
    return ((near - low) / (most - low).clamp(min=1e-6)).repeat(1, 1, 1, 3)


def _sizes(config: ConfigFile) -> tuple[int, int]:
    """The shorter side and the side of a patch, in pixels."""
    backbone = config.values.get("backbone_config")
    if not isinstance(backbone, dict):
        raise ModelFileError(
            f"{config.name}: backbone_config: expected the encoder's configuration"
        )
    own = ConfigFile(config.name, backbone)
    return own.count("image_size", SIDE_PX), own.count("patch_size", PATCH_PX)
