"""LoRA files on networks: which weight each change belongs to; merged just before use."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..compatibility import CompatibilityMode, compatibility_mode
from ..errors import ModelFileError
from ..families.stored import OriginalLayer, OriginalLayers
from ..weights.digest import content_digest
from ..weights.lora_file import LayerChange, LoraTarget, Role, read_lora_contents
from ..weights.weight_file import open_weights
from .handles import Clip, Model
from .lora_kinds import CUT_ROLES, ROLES_WITH_ROWS, Rows, apply_change, take_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class WeightChange:
    """The change of one weight.

    Attributes:
        roles: the file's tensors.
        rows: the rows of the file's layer that are this weight's; None is all.
    """

    roles: Mapping[Role, Tensor]
    rows: Rows | None = None


@dataclass(frozen=True, eq=False)
class LoraPatch:
    """The changes of a LoRA file to one network.

    Attributes:
        digest: of the file.
        strength: factor of the changes; may be negative.
        changes: of the file, by name of the network's parameter.
        mode: ComfyUI version to follow; see `diffusion.compatibility`.
    """

    digest: str
    strength: float
    changes: Mapping[str, WeightChange]
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
        change = self.changes[name]
        roles = {role: tensor.to(weight.device) for role, tensor in change.roles.items()}
        return apply_change(weight, roles, self.strength, self.mode, change.rows)


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


def _make_patch(
    path: Path, networks: Mapping[LoraTarget, LoraNetwork], strength: float
) -> LoraPatch | None:
    """Make the patch of a file for networks; None if the file has no changes of them."""
    contents = read_lora_contents(path)
    of_side = [
        change for change in contents.changes if ("unet" in networks) == (change.target == "unet")
    ]
    unused = set(contents.unknown).union(*(change.keys.values() for change in of_side))
    changes: dict[str, WeightChange] = {}
    for part, network in networks.items():
        parameters = dict(network.module.named_parameters())
        keys = _match_keys(
            [change for change in of_side if change.target == part], network, parameters
        )
        for name, change in _read_tensors(path, keys).items():
            used = _check_shapes(path.name, name, change, parameters[name])
            unused -= {keys[name].roles[role] for role in used}
            changes[network.prefix + name] = change
    if not changes and (fitting := [c.layer for c in of_side if c.target in networks]):
        raise ModelFileError(f"nothing in {path.name} fits: the network has no layer {fitting[0]}")
    if unused:
        log.warning("%s: %d tensors are not used, such as %s", path.name, len(unused), min(unused))
    return LoraPatch(content_digest(path), strength, changes) if changes else None


class _MatchedChange(NamedTuple):
    """The file's keys for a weight by their roles, and the rows of the layer that are its own."""

    roles: dict[Role, str]
    rows: Rows | None


def _match_keys(
    changes: Iterable[LayerChange], network: LoraNetwork, parameters: Mapping[str, Tensor]
) -> dict[str, _MatchedChange]:
    """Return the file's changes by the name of a network's parameter.

    Layers that the network does not have are left out, as in ComfyUI.
    """
    layers = _layers_by_key(parameters, network)
    matched: dict[str, _MatchedChange] = {}
    for change in changes:
        layer = layers.get(change.layer) or layers.get(f"{change.layer}_0")
        for role, key in change.keys.items() if layer else ():
            kind = "bias" if role == "diff_b" else "weight"
            assert layer is not None
            for name, rows in _find_rows(layer, kind, parameters):
                matched.setdefault(name, _MatchedChange({}, rows)).roles[role] = key
    return {name: match for name, match in matched.items() if {*match.roles} != {"alpha"}}


def _find_rows(
    layer: OriginalLayer, kind: str, parameters: Mapping[str, Tensor]
) -> Iterator[tuple[str, Rows | None]]:
    """Yield a layer's parameters of a kind that the network has, with their rows of the layer."""
    names = [f"{name}.{kind}" for name in layer.names]
    if not parameters.keys() >= {*names}:
        return
    if len(names) == 1:
        half = len(parameters[names[0]]) // 2
        yield names[0], (slice(half, None), slice(0, half)) if layer.is_swapped else None
        return
    start = 0
    for name in names:
        end = start + len(parameters[name])
        yield name, (slice(start, end),)
        start = end


def _read_tensors(path: Path, changes: Mapping[str, _MatchedChange]) -> dict[str, WeightChange]:
    with open_weights(path) as file:
        return {
            name: _cut_rows(
                {role: file.get_tensor(key) for role, key in change.roles.items()}, change.rows
            )
            for name, change in changes.items()
        }


def _cut_rows(roles: dict[Role, Tensor], rows: Rows | None) -> WeightChange:
    """Return a change with only its rows, cut where that is possible before multiplying."""
    if rows is None or not roles.keys() <= CUT_ROLES:
        return WeightChange(roles, rows)
    cut = {
        role: take_rows(tensor, rows) if role in ROLES_WITH_ROWS else tensor
        for role, tensor in roles.items()
    }
    return WeightChange(cut)


def _layers_by_key(parameters: Iterable[str], network: LoraNetwork) -> dict[str, OriginalLayer]:
    """Return layers by their keys with underscores: our own, and the original code's."""
    layers = {name.rpartition(".")[0] for name in parameters}
    by_key = {
        layer.removeprefix("text_model.").replace(".", "_"): OriginalLayer((layer,))
        for layer in layers
    }
    for name, original in network.original_layers(layers).items():
        by_key.setdefault(name.replace(".", "_"), original)
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


def _check_shapes(file: str, name: str, change: WeightChange, weight: Tensor) -> set[Role]:
    """Check that a change fits its weight, from the shapes alone; return the roles it uses.

    An alpha counts as used, even where nothing has a rank that it could scale.
    """
    shapes = _RecordedRoles(
        {
            role: tensor if role == "alpha" else tensor.to("meta")
            for role, tensor in change.roles.items()
        }
    )
    message = f"{file}: its change of {name} does not fit {'×'.join(map(str, weight.shape))}"
    try:
        apply_change(weight.to("meta"), shapes, 1.0, rows=change.rows)
    except ModelFileError as error:
        raise ModelFileError(f"{message}: {error}") from error
    except (KeyError, RuntimeError, IndexError) as error:
        raise ModelFileError(message) from error
    return (shapes.read | {"alpha"}) & change.roles.keys()
