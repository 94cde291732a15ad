"""Loading ControlNets into handles."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..errors import ModelFileError
from ..weights.control_file import (
    DIFFERENCE_KEY,
    check_control,
    detect_control_family,
    is_union_control,
    read_control_network,
)
from ..weights.headers import read_tensor_infos
from . import devices
from .control import ControlNet, ControlWeights, UnionWeights
from .handles import Model
from .network_files import load_network_file, load_network_folder, load_shared


def load_control(path: Path, model: Model | None = None) -> ControlNet:
    """A ControlNet from a diffusers folder or a file; weights in use already are shared.

    Args:
        model: what the weights of a file that holds a difference are added to.

    Raises:
        ModelFileError: it is incomplete, unsafe, damaged, no ControlNet, or a difference
            without a model.
    """
    check_control(path, model is not None)

    def make(digest: str) -> ControlWeights:
        from diffusers import ControlNetModel, ControlNetUnionModel

        union = is_union_control(path)
        kind = ControlNetUnionModel if union else ControlNetModel
        weights = UnionWeights if union else ControlWeights
        if path.is_dir():
            return weights(load_network_folder(kind, path, devices.network_dtype()), digest)
        part = read_control_network(path.name, read_tensor_infos(path))
        blank = partial(kind, **part.config)
        try:
            module = load_network_file(path, part, blank, devices.network_dtype())
        except ModelFileError:
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelFileError(f"{path.name} is no ControlNet that fits: {error}") from error
        return weights(module, digest)

    family = detect_control_family(path)
    if model is None or path.is_dir() or DIFFERENCE_KEY not in read_tensor_infos(path):
        return ControlNet(load_shared("controlnet", make, path), family)

    def added(digest: str) -> ControlWeights:
        weights = make(digest)
        _add(weights.module, model.weights.module)
        return weights

    return ControlNet(load_shared(f"controlnet on {model.weights.digest}", added, path), family)


def _add(module: nn.Module, base: nn.Module) -> None:
    """Add to each weight the base's one of the same name and shape."""
    theirs = base.state_dict()
    with torch.no_grad():
        for name, weight in module.state_dict().items():
            if name in theirs and theirs[name].shape == weight.shape:
                weight += theirs[name]
