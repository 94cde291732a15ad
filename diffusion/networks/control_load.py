"""Load ControlNets into handles."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from ..errors import ModelFileError
from ..families.table import FoundControl
from ..weights.control_file import (
    DIFFERENCE_KEY,
    check_control,
    detect_control_family,
    find_file_control,
    is_union_control,
    read_control_network,
)
from ..weights.headers import read_tensor_infos
from . import devices
from .control import ControlNet, ControlWeights, LatentControlWeights, UnionWeights
from .handles import Model
from .network_files import load_network_file, load_network_folder, load_shared


def load_control(path: Path, model: Model | None = None) -> ControlNet:
    """Load a ControlNet from a diffusers folder or a file; weights in use already are shared.

    Args:
        model: the base that the weights of a difference file are added to.

    Raises:
        ModelFileError: it is incomplete, unsafe, corrupt, not a ControlNet, or a difference
            without a model.
    """
    check_control(path, model is not None)
    found_control = find_file_control(path) if path.is_file() else None
    if found_control is not None:
        return _load_latent_control(path, found_control)

    def make(digest: str) -> ControlWeights:
        from diffusers import ControlNetModel, ControlNetUnionModel

        kind = ControlNetUnionModel if is_union_control(path) else ControlNetModel
        weights_type = UnionWeights if is_union_control(path) else ControlWeights
        dtype = devices.network_dtype()
        if path.is_dir():
            return weights_type(load_network_folder(kind, path, dtype), digest)
        part = read_control_network(path.name, read_tensor_infos(path))
        try:
            module = load_network_file(path, part, partial(kind, **part.config), dtype)
        except ModelFileError:
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelFileError(f"{path.name} is not a usable ControlNet: {error}") from error
        return weights_type(module, digest)

    family = detect_control_family(path)
    if model is None or path.is_dir() or DIFFERENCE_KEY not in read_tensor_infos(path):
        return ControlNet(load_shared("controlnet", make, path), family)

    def make_sum(digest: str) -> ControlWeights:
        weights = make(digest)
        _add_weights(weights.module, model.weights.module)
        return weights

    return ControlNet(load_shared(f"controlnet on {model.weights.digest}", make_sum, path), family)


def _load_latent_control(path: Path, found_control: FoundControl) -> ControlNet:
    architecture, network, family = found_control

    def make(digest: str) -> ControlWeights:
        import diffusers

        build = partial(getattr(diffusers, architecture.class_name), **network.config)
        module = load_network_file(path, network, build, devices.network_dtype())
        return LatentControlWeights(module, digest, architecture)

    return ControlNet(load_shared("controlnet", make, path), family)


def _add_weights(module: nn.Module, base: nn.Module) -> None:
    """Add to each weight the base's weight of the same name and shape."""
    base_weights = base.state_dict()
    with torch.no_grad():
        for name, weight in module.state_dict().items():
            if name in base_weights and base_weights[name].shape == weight.shape:
                weight += base_weights[name]
