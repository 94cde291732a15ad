"""LoRA and related formats: changes to a network's weights, merged just before use.

Source: LoRA (arXiv 2106.09685), LoHa and LoKr (LyCORIS, arXiv 2309.14859), DoRA (arXiv
2402.09353), OFT (arXiv 2306.07280), GLoRA (arXiv 2306.07967).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..compatibility import CompatibilityMode, compatibility_mode
from ..errors import ModelFileError
from ..families.stored import OriginalLayers
from ..weights.digest import content_digest
from ..weights.lora_file import LayerChange, LoraTarget, Role, read_lora_contents
from ..weights.weight_file import open_weights
from .handles import Clip, Model

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoraPatch:
    """The changes of a LoRA file to one network.

    Attributes:
        digest: of the file.
        strength: factor of the changes; may be negative.
        changes: the file's tensors by their roles, by name of the network's parameter.
        mode: ComfyUI version to follow; see `diffusion.compatibility`.
    """

    digest: str
    strength: float
    changes: Mapping[str, Mapping[Role, Tensor]]
    mode: CompatibilityMode = field(default_factory=compatibility_mode)

    @property
    def fingerprint(self) -> str:
        """Identify the patch by its file, strength and mode."""
        return f"lora {self.digest} {self.strength} {self.mode}"

    def select_names(self, _parameters: Iterable[str]) -> Iterable[str]:
        """Return the parameters that the patch changes."""
        return self.changes.keys()

    def change(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter, float32, with the patch merged in."""
        roles = {role: tensor.to(weight.device) for role, tensor in self.changes[name].items()}
        return apply_change(weight, roles, self.strength, self.mode)


@dataclass(frozen=True)
class LoraNetwork:
    """A network that a LoRA file changes.

    Attributes:
        prefix: of its parameters' names in a patch.
        original_layers: its layers by the original code's names; see `Architecture`.
    """

    prefix: str
    module: nn.Module
    original_layers: OriginalLayers = lambda _layers: {}


def with_lora(model: Model, path: Path, strength: float) -> Model:
    """Add a LoRA to a model; at strength 0, return the model itself.

    Raises:
        ModelFileError: the file is corrupt, or nothing in it fits the model.
    """
    if strength == 0:
        return model
    networks: dict[LoraTarget, LoraNetwork] = {
        "unet": LoraNetwork("", model.weights.module, model.weights.architecture.original_layers)
    }
    patch = _make_patch(path, networks, strength)
    return replace(model, patches=(*model.patches, patch)) if patch else model


def with_clip_lora(clip: Clip, path: Path, strength: float) -> Clip:
    """Add a LoRA to text encoders; if it does not change them, return them as they are.

    Raises:
        ModelFileError: the file is corrupt, or nothing in it fits the text encoders.
    """
    if strength == 0:
        return clip
    encoders = clip.weights.encoders
    has_several = len(encoders) > 1
    networks: dict[LoraTarget, LoraNetwork] = {
        "text_2" if encoder.kind == "g" and has_several else "text": LoraNetwork(
            f"{encoder.kind}." if has_several else "", encoder.module
        )
        for encoder in encoders
    }
    patch = _make_patch(path, networks, strength)
    return replace(clip, patches=(*clip.patches, patch)) if patch else clip


def apply_change(
    weight: Tensor,
    roles: Mapping[Role, Tensor],
    strength: float,
    mode: CompatibilityMode = "current",
) -> Tensor:
    """Return a weight with one layer's change, float32.

    ComfyUI's order of operations: the factors are multiplied first, the matrices next, and the
    product of both is added in float32.

    Raises:
        KeyError: a role is missing.
        ModelFileError: the change has another shape.
    """
    if "set" in roles:
        return roles["set"].float().reshape(weight.shape)
    difference, factor = _difference(weight, roles, strength)
    if difference.numel() != weight.numel():
        shapes = f"{tuple(weight.shape)}, got {tuple(difference.shape)}"
        raise ModelFileError(f"a change of weights: expected the shape {shapes}")
    difference = difference.reshape(weight.shape)
    lengths = roles.get("dora_scale")
    if lengths is None:
        return weight + (strength * factor) * difference
    return weight + strength * (_dora(weight, factor * difference, lengths, mode) - weight)


def _difference(
    weight: Tensor, roles: Mapping[Role, Tensor], strength: float
) -> tuple[Tensor, float]:
    """Return the difference that a change adds, and the factor to apply beside `strength`."""
    if "up" in roles and "down" in roles:
        up, down = (roles[role].float().flatten(1) for role in ("up", "down"))
        scale = _scale(roles, down.shape[0])
        if "mid" in roles:
            return torch.einsum("or,rskl,si->oikl", up, roles["mid"].float(), down), scale
        return up @ down, scale
    if "hada_w1_a" in roles:
        product: Tensor = _hadamard_factor(roles, "1") * _hadamard_factor(roles, "2")
        return product, _scale(roles, roles["hada_w1_b"].shape[0])
    if "lokr_w1" in roles or "lokr_w1_a" in roles:
        return _kronecker(roles)
    if "oft_blocks" in roles:
        return _oft(weight, roles, strength), 1.0
    if "glora_a1" in roles:
        return _glora(weight, roles)
    return (roles["diff_b"] if "diff_b" in roles else roles["diff"]).float(), 1.0


def _oft(weight: Tensor, roles: Mapping[Role, Tensor], strength: float) -> Tensor:
    """Return OFT's difference: blocks of outputs, rotated by the Cayley transform.

    The rotations come from the skew parts of the file's blocks. The strength counts twice, as in
    ComfyUI. Source: arXiv 2306.07280, section 3.
    """
    blocks = roles["oft_blocks"].float()
    if blocks.ndim != 3:
        raise ModelFileError("BOFT adapters are not supported")
    count, size, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    limit = float(roles["alpha"]) if "alpha" in roles else 0.0
    if limit > 0:
        skew = skew * (limit / (skew.norm() + 1e-8)).clamp(max=1.0)
    identity = torch.eye(size, device=skew.device)
    rotation = (identity + skew) @ (identity - skew).inverse()
    rows = weight.reshape(count, size, -1)
    return strength * ((rotation - identity).transpose(1, 2) @ rows).reshape(weight.shape)


def _glora(weight: Tensor, roles: Mapping[Role, Tensor]) -> tuple[Tensor, float]:
    """Return GLoRA's difference and factor: the weight times one low-rank matrix, plus another.

    Older and newer files have the factors in opposite order. Source: arXiv 2306.07967,
    equation 8.
    """
    a1, a2, b1, b2 = (
        roles[f"glora_{name}"].float().flatten(1) for name in ("a1", "a2", "b1", "b2")
    )
    is_older = b2.shape[1] == b1.shape[0] == a1.shape[0] == a2.shape[1]
    is_newer = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    is_square = a2.shape[0] == weight.shape[0] == weight.shape[1]
    if is_older and (is_square or not is_newer):
        scale, rows = _scale(roles, a1.shape[0]), weight.flatten(1)
        return (b2 @ b1 + rows @ a2 @ a1).reshape(weight.shape), scale
    if not is_newer:
        raise ModelFileError("the factors of a GLoRA layer do not fit each other")
    product = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2)
    return product + (b1 @ b2).reshape(weight.shape), _scale(roles, a2.shape[0])


def _scale(roles: Mapping[Role, Tensor], rank: int) -> float:
    """Return alpha by the rank; a layer of rank 0 changes nothing."""
    return float(roles["alpha"]) / rank if "alpha" in roles and rank else 1.0


def _hadamard_factor(roles: Mapping[Role, Tensor], number: str) -> Tensor:
    left, right = (roles[f"hada_w{number}_{side}"].float() for side in "ab")
    core = roles.get(f"hada_t{number}")
    if core is None:
        return left @ right
    return torch.einsum("rskl,ro,si->oikl", core.float(), left, right)


def _kronecker(roles: Mapping[Role, Tensor]) -> tuple[Tensor, float]:
    ranks, factors = [], []
    for number in "12":
        factor = roles.get(f"lokr_w{number}")
        if factor is None:
            left, right = (roles[f"lokr_w{number}_{side}"].float() for side in "ab")
            ranks.append(right.shape[0])
            core = roles.get("lokr_t2") if number == "2" else None
            if core is None:
                factor = left @ right.flatten(1)
                factor = factor.reshape(*factor.shape[:1], *right.shape[1:])
            else:
                factor = torch.einsum("rskl,ro,si->oikl", core.float(), left, right)
        factors.append(factor.float())
    first, second = factors
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    product: Tensor = torch.kron(first, second.contiguous())
    return product, _scale(roles, ranks[-1]) if ranks else 1.0


def _dora(weight: Tensor, difference: Tensor, scale: Tensor, mode: CompatibilityMode) -> Tensor:
    """Return the changed weight with its rows or columns rescaled to lengths of `scale`.

    The shape of `scale` says which. The lengths are measured after the change; ComfyUI 0.3.64
    measures those of rows before it. Source: arXiv 2402.09353, equation 5.
    """
    scale, changed = scale.float(), weight + difference
    axis = 0 if scale.shape[0] == weight.shape[0] else 1
    measured = weight if axis == 0 and mode == "0.3.64" else changed
    rows = measured.transpose(0, axis).flatten(1)
    shape = [1] * weight.ndim
    shape[axis] = -1
    lengths = rows.norm(dim=1) + torch.finfo(torch.float32).eps
    scaled: Tensor = changed * (scale.flatten() / lengths).reshape(shape)
    return scaled


def _make_patch(
    path: Path, networks: Mapping[LoraTarget, LoraNetwork], strength: float
) -> LoraPatch | None:
    """Make the patch of a file for networks; None if the file has no changes of them."""
    contents = read_lora_contents(path)
    of_side = [
        change for change in contents.changes if ("unet" in networks) == (change.target == "unet")
    ]
    unused = set(contents.unknown).union(*(change.keys.values() for change in of_side))
    changes: dict[str, Mapping[Role, Tensor]] = {}
    for part, network in networks.items():
        parameters = dict(network.module.named_parameters())
        keys = _match_keys(
            [change for change in of_side if change.target == part], network, parameters
        )
        for name, roles in _read_tensors(path, keys).items():
            used = _check_shapes(path.name, name, roles, parameters[name])
            unused -= {keys[name][role] for role in used}
            changes[network.prefix + name] = roles
    if not changes and (fitting := [c.layer for c in of_side if c.target in networks]):
        raise ModelFileError(f"nothing in {path.name} fits: the network has no layer {fitting[0]}")
    if unused:
        log.warning("%s: %d tensors are not used, such as %s", path.name, len(unused), min(unused))
    return LoraPatch(content_digest(path), strength, changes) if changes else None


def _match_keys(
    changes: Iterable[LayerChange], network: LoraNetwork, parameters: Iterable[str]
) -> dict[str, dict[Role, str]]:
    """Return the file's keys by their roles, by the name of a network's parameter.

    Layers that the network does not have are left out, as in ComfyUI.
    """
    layers = _layers_by_key(parameters, network)
    keys: dict[str, dict[Role, str]] = {}
    for change in changes:
        layer = layers.get(change.layer) or layers.get(f"{change.layer}_0")
        for role, key in change.keys.items() if layer else ():
            name = f"{layer}.bias" if role == "diff_b" else f"{layer}.weight"
            keys.setdefault(name, {})[role] = key
    return {
        name: roles for name, roles in keys.items() if name in parameters and {*roles} != {"alpha"}
    }


def _read_tensors(
    path: Path, keys: Mapping[str, Mapping[Role, str]]
) -> dict[str, dict[Role, Tensor]]:
    with open_weights(path) as file:
        return {
            name: {role: file.get_tensor(key) for role, key in roles.items()}
            for name, roles in keys.items()
        }


def _layers_by_key(parameters: Iterable[str], network: LoraNetwork) -> dict[str, str]:
    """Return our layers by their keys with underscores: our own, and the original code's."""
    layers = {name.rpartition(".")[0] for name in parameters}
    by_key = {layer.removeprefix("text_model.").replace(".", "_"): layer for layer in layers}
    for original, (layer, *_) in network.original_layers(layers).items():
        by_key.setdefault(original.replace(".", "_"), layer)
    return by_key


class _RecordedRoles(dict[Role, Tensor]):
    """Tensors by their roles that note which of them are read."""

    def __init__(self, roles: Mapping[Role, Tensor]) -> None:
        super().__init__(roles)
        self.read: set[Role] = set()

    def __getitem__(self, role: Role) -> Tensor:
        self.read.add(role)
        return super().__getitem__(role)

    def get(self, role: Role, default: Any = None) -> Any:
        self.read.add(role)
        return super().get(role, default)


def _check_shapes(file: str, name: str, roles: Mapping[Role, Tensor], weight: Tensor) -> set[Role]:
    """Check that a change fits its weight, from the shapes alone; return the roles it uses.

    An alpha counts as used, even where nothing has a rank that it could scale.
    """
    shapes = _RecordedRoles(
        {role: tensor if role == "alpha" else tensor.to("meta") for role, tensor in roles.items()}
    )
    message = f"{file}: its change of {name} does not fit {'×'.join(map(str, weight.shape))}"
    try:
        apply_change(weight.to("meta"), shapes, 1.0)
    except ModelFileError as error:
        raise ModelFileError(f"{message}: {error}") from error
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelFileError(message) from error
    return (shapes.read | {"alpha"}) & roles.keys()
