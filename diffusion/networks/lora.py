"""LoRA and its kin: changes to a network's weights, merged just before use.

Source: LoRA (arXiv 2106.09685), LoHa and LoKr (LyCORIS, arXiv 2309.14859), DoRA (arXiv
2402.09353), OFT (arXiv 2306.07280), GLoRA (arXiv 2306.07967).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..weights.digest import content_digest
from ..weights.lora_file import LayerChange, LoraTarget, Role, read_layer_changes
from ..weights.unet_names import map_original_layers
from ..weights.weight_file import open_weights
from .handles import Clip, Model

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoraPatch:
    """The changes of a LoRA file to one network.

    Attributes:
        digest: of the file.
        strength: what the changes are multiplied with; may be negative.
        changes: by name of the network's parameter.
    """

    digest: str
    strength: float
    changes: Mapping[str, Mapping[Role, Tensor]]

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return f"lora {self.digest} {self.strength}"

    def select_names(self, _parameters: Iterable[str]) -> Iterable[str]:
        """The parameters that it changes."""
        return self.changes.keys()

    def change(self, name: str, weight: Tensor) -> Tensor:
        """A parameter, float32, with this patch merged in."""
        roles = {role: part.to(weight.device) for role, part in self.changes[name].items()}
        return changed(weight, roles, self.strength)


def with_lora(model: Model, path: Path, strength: float) -> Model:
    """The model with a LoRA; itself at strength 0.

    Raises:
        ModelFileError: the file is damaged, or nothing in it fits the model.
    """
    if strength == 0:
        return model
    patch = _patch(path, {"unet": ("", model.weights.module)}, strength)
    return replace(model, patches=(*model.patches, patch)) if patch else model


def with_clip_lora(clip: Clip, path: Path, strength: float) -> Clip:
    """The text encoder with a LoRA; itself at strength 0 or where the file leaves it alone.

    Raises:
        ModelFileError: the file is damaged, or nothing in it fits the text encoder.
    """
    if strength == 0:
        return clip
    parts = clip.weights.encoders
    networks: dict[LoraTarget, tuple[str, nn.Module]] = {
        "text_2" if part.kind == "g" and len(parts) > 1 else "text": (
            f"{part.kind}." if len(parts) > 1 else "",
            part.module,
        )
        for part in parts
    }
    patch = _patch(path, networks, strength)
    return replace(clip, patches=(*clip.patches, patch)) if patch else clip


def changed(weight: Tensor, roles: Mapping[Role, Tensor], strength: float) -> Tensor:
    """A weight with one layer's change, all float32.

    Raises:
        KeyError: a role is missing.
        ModelFileError: the change is of another shape.
    """
    if "set" in roles:
        return roles["set"].float().reshape(weight.shape)
    difference = _difference(weight, roles, strength)
    if difference.numel() != weight.numel():
        shapes = f"{tuple(difference.shape)}, the network's {tuple(weight.shape)}"
        raise ModelFileError(f"a layer of the LoRA is of shape {shapes}")
    difference = difference.reshape(weight.shape)
    scale = roles.get("dora_scale")
    if scale is None:
        return torch.add(weight, difference, alpha=strength)
    return weight + strength * (_decomposed(weight, difference, scale) - weight)


def _difference(weight: Tensor, roles: Mapping[Role, Tensor], strength: float) -> Tensor:
    """What is added, times the strength."""
    if "up" in roles and "down" in roles:
        up, down = roles["up"].float(), roles["down"].float()
        scale = _scale(roles, down.shape[0])
        if "mid" in roles:
            mid = roles["mid"].float()
            return torch.einsum("or,rskl,si->oikl", scale * up.flatten(1), mid, down.flatten(1))
        return (scale * up.flatten(1)) @ down.flatten(1)
    if "hada_w1_a" in roles:
        product: Tensor = _hadamard_half(roles, "1") * _hadamard_half(roles, "2")
        return product * _scale(roles, roles["hada_w1_b"].shape[0])
    if "lokr_w1" in roles or "lokr_w1_a" in roles:
        return _kronecker(roles)
    if "oft_blocks" in roles:
        return _turned(weight, roles, strength)
    if "glora_a1" in roles:
        return _general(weight, roles)
    return (roles["diff_b"] if "diff_b" in roles else roles["diff"]).float()


def _turned(weight: Tensor, roles: Mapping[Role, Tensor], strength: float) -> Tensor:
    """OFT: blocks of outputs turned by the Cayley transform of what is skew in the file's blocks.

    The strength counts a second time, as in ComfyUI. Source: arXiv 2306.07280, section 3.
    """
    blocks = roles["oft_blocks"].float()
    if blocks.ndim != 3:
        raise ModelFileError("it holds BOFT adapters, which are not supported")
    count, size, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    limit = float(roles["alpha"]) if "alpha" in roles else 0.0
    if limit > 0:
        skew = skew * (limit / (skew.norm() + 1e-8)).clamp(max=1.0)
    one = torch.eye(size, device=skew.device)
    turn = (one + skew) @ (one - skew).inverse()
    rows = weight.reshape(count, size, -1)
    return strength * ((turn - one).transpose(1, 2) @ rows).reshape(weight.shape)


def _general(weight: Tensor, roles: Mapping[Role, Tensor]) -> Tensor:
    """GLoRA: the weight times one low-rank matrix, and another one.

    Files of two kinds differ in which halves come first. Source: arXiv 2306.07967, equation 8.
    """
    a1, a2, b1, b2 = (
        roles[f"glora_{name}"].float().flatten(1) for name in ("a1", "a2", "b1", "b2")
    )
    older = b2.shape[1] == b1.shape[0] == a1.shape[0] == a2.shape[1]
    newer = b2.shape[0] == b1.shape[1] == a1.shape[1] == a2.shape[0]
    square = a2.shape[0] == weight.shape[0] == weight.shape[1]
    if older and (square or not newer):
        scale, rows = _scale(roles, a1.shape[0]), weight.flatten(1)
        return scale * (b2 @ b1 + rows @ a2 @ a1).reshape(weight.shape)
    if not newer:
        raise ModelFileError("its halves do not fit each other")
    moved = torch.einsum("oi...,ir,rj->oj...", weight, a1, a2)
    return _scale(roles, a2.shape[0]) * (moved + (b1 @ b2).reshape(weight.shape))


def _scale(roles: Mapping[Role, Tensor], rank: int) -> float:
    return float(roles["alpha"]) / rank if "alpha" in roles else 1.0


def _hadamard_half(roles: Mapping[Role, Tensor], number: str) -> Tensor:
    left, right = (roles[f"hada_w{number}_{side}"].float() for side in "ab")
    core = roles.get(f"hada_t{number}")
    if core is None:
        return left @ right
    return torch.einsum("rskl,ro,si->oikl", core.float(), left, right)


def _kronecker(roles: Mapping[Role, Tensor]) -> Tensor:
    ranks, halves = [], []
    for number in "12":
        whole = roles.get(f"lokr_w{number}")
        if whole is None:
            left, right = (roles[f"lokr_w{number}_{side}"].float() for side in "ab")
            ranks.append(right.shape[0])
            core = roles.get("lokr_t2") if number == "2" else None
            if core is None:
                whole = left @ right.flatten(1)
                whole = whole.reshape(*whole.shape[:1], *right.shape[1:])
            else:
                whole = torch.einsum("rskl,ro,si->oikl", core.float(), left, right)
        halves.append(whole.float())
    first, second = halves
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    product: Tensor = torch.kron(first, second.contiguous())
    return product * (_scale(roles, ranks[-1]) if ranks else 1.0)


def _decomposed(weight: Tensor, difference: Tensor, scale: Tensor) -> Tensor:
    """The changed weight times lengths over those of its columns, or of the weight's own rows.

    Which, tells the shape of the scale. That rows are measured before the change, columns after
    it, is ComfyUI's way.
    """
    scale, moved = scale.float(), weight + difference
    axis = 0 if scale.shape[0] == weight.shape[0] else 1
    measured = weight if axis == 0 else moved.transpose(0, 1)
    lengths = measured.flatten(1).norm(dim=1) + torch.finfo(torch.float32).eps
    shape = [1] * weight.ndim
    shape[axis] = -1
    scaled: Tensor = moved * (scale.flatten() / lengths).reshape(shape)
    return scaled


def _patch(
    path: Path, networks: Mapping[LoraTarget, tuple[str, nn.Module]], strength: float
) -> LoraPatch | None:
    """What a file changes in networks; None if it does not speak of them.

    Args:
        networks: each with what the names of its parameters begin with in the whole.
    """
    expected = [change for change in read_layer_changes(path) if change.target in networks]
    if not expected:
        return None
    changes: dict[str, dict[Role, Tensor]] = {}
    for part, (beginning, module) in networks.items():
        mine = [change for change in expected if change.target == part]
        found = _changes(path, mine, part, dict(module.named_parameters()))
        changes |= {beginning + name: roles for name, roles in found.items()}
    if not changes:
        raise ModelFileError(f"nothing in {path.name} fits: the network has no {expected[0].layer}")
    return LoraPatch(content_digest(path), strength, changes)


def _changes(
    path: Path, expected: Iterable[LayerChange], part: LoraTarget, parameters: Mapping[str, Tensor]
) -> dict[str, dict[Role, Tensor]]:
    """What a file changes in one network, by the names of its parameters.

    Layers that the network has not are told in the log and left out, as in ComfyUI.
    """
    places = _places(parameters, part)
    changes: dict[str, dict[Role, Tensor]] = {}
    strange: list[str] = []
    with open_weights(path) as file:
        for change in expected:
            layer = places.get(change.layer) or places.get(f"{change.layer}_0")
            if layer is None:
                strange.append(change.layer)
            for role, key in change.keys.items() if layer else ():
                name = f"{layer}.bias" if role == "diff_b" else f"{layer}.weight"
                changes.setdefault(name, {})[role] = file.get_tensor(key)
    if strange and changes:
        log.warning(
            "%s: layers that the network has not are left out, %d of them, such as %s",
            path.name, len(strange), strange[0],
        )  # fmt: skip
    changes = {
        name: roles
        for name, roles in changes.items()
        if name in parameters and {*roles} != {"alpha"}
    }
    for name, roles in changes.items():
        _check(path.name, name, roles, parameters[name])
    return changes


def _places(parameters: Iterable[str], part: LoraTarget) -> dict[str, str]:
    """Our name of each layer by its names with underscores: ours, and the original code's."""
    layers = {name.rpartition(".")[0] for name in parameters}
    places = {layer.removeprefix("text_model.").replace(".", "_"): layer for layer in layers}
    if part == "unet":
        for theirs, ours in map_original_layers(layers).items():
            places.setdefault(theirs.replace(".", "_"), ours)
    return places


def _check(file: str, name: str, roles: Mapping[Role, Tensor], weight: Tensor) -> None:
    """Whether a change fits its weight, from the shapes alone."""
    shapes = {role: part.to("meta") for role, part in roles.items() if role != "alpha"}
    expected = f"{file}: its change of {name} does not fit {'×'.join(map(str, weight.shape))}"
    try:
        changed(weight.to("meta"), shapes, 1.0)
    except ModelFileError as error:
        raise ModelFileError(f"{expected}: {error}") from error
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelFileError(expected) from error
