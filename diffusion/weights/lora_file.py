"""LoRA files: which layer each key changes, and how. No torch here.

Names of layers are read with all dots as underscores, as kohya's tools write them; diffusers',
PEFT's and the original code's names become the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ModelFileError
from ..families.family import family_for
from .headers import read_tensor_infos
from .tensor_info import TensorInfo

LoraTarget = Literal["unet", "text", "text_2"]
Role = str

# What a key's end says its tensor is; longer ends first.
ROLES: dict[str, Role] = {
    ".lora_up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_mid.weight": "mid",
    ".lora_B.default.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.down.weight": "down",
    ".lora_magnitude_vector.default.weight": "dora_scale",
    ".lora_magnitude_vector": "dora_scale",
    ".dora_scale": "dora_scale",
    ".alpha": "alpha",
    ".w_norm": "diff",
    ".b_norm": "diff_b",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".set_weight": "set",
    ".oft_blocks": "oft_blocks",
    ".rescale": "rescale",
}
for _name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2"):
    ROLES[f".hada_{_name}"] = f"hada_{_name}"
for _name in ("w1", "w2", "w1_a", "w1_b", "w2_a", "w2_b", "t2"):
    ROLES[f".lokr_{_name}"] = f"lokr_{_name}"
for _name in ("a1", "a2", "b1", "b2"):
    ROLES[f".{_name}.weight"] = f"glora_{_name}"
# As kohya's tools name them, which change other layers than LyCORIS' do.
UNKNOWN_KINDS = {"oft_unet_": "OFT"}
PREFIXES: dict[str, LoraTarget] = {
    "lora_unet_": "unet",
    "lora_te1_": "text",
    "lora_te2_": "text_2",
    "lora_te_": "text",
    "diffusion_model_": "unet",
    "unet_": "unet",
    "text_encoder_2_": "text_2",
    "text_encoder_": "text",
    "text_model_": "text",
}
OLD_ATTENTION = re.compile(r"self_attn_to_(q|k|v|out)$")


@dataclass(frozen=True)
class LayerChange:
    """What a file says of one layer.

    Attributes:
        target: the network that has the layer.
        layer: its name with underscores.
        keys: the file's key of each role.
    """

    target: LoraTarget
    layer: str
    keys: Mapping[Role, str]


def read_layer_changes(path: Path) -> list[LayerChange]:
    """All that a file changes.

    Raises:
        ModelFileError: it is no whole weight file, no LoRA, or of a kind that is not supported.
    """
    return parse_layer_changes(path.name, read_tensor_infos(path))


def parse_layer_changes(name: str, keys: Iterable[str]) -> list[LayerChange]:
    """What the keys of a file change; keys of no known form are left out.

    Raises:
        ModelFileError: no key is of a known form.
    """
    found: dict[tuple[LoraTarget, str], dict[Role, str]] = defaultdict(dict)
    strange = []
    for key in keys:
        place, role = _split(key)
        target = _target(place)
        if role is None or target is None:
            strange.append(key)
        else:
            found[target][role] = key
    for key in strange:
        for mark, kind in UNKNOWN_KINDS.items():
            if mark in key:
                raise ModelFileError(f"{name} holds {kind} adapters, which are not supported")
    if not found:
        raise ModelFileError(f"{name} holds no LoRA")
    return [LayerChange(part, layer, keys) for (part, layer), keys in found.items()]


def check_lora(path: Path) -> None:
    """Whether a file is a LoRA that can be loaded.

    Raises:
        ModelFileError: it is not.
    """
    read_layer_changes(path)


def detect_lora_family(path: Path) -> str | None:
    """The family of the models that a LoRA fits; None where its keys do not tell.

    Raises:
        ModelFileError: it is no LoRA.
    """
    heads = read_tensor_infos(path)
    for change in parse_layer_changes(path.name, heads):
        if change.target == "unet" and change.layer.endswith("attn2_to_k"):
            width = _input_width({role: heads[key] for role, key in change.keys.items()})
            if width:
                return family_for(width).name
    return None


def _split(key: str) -> tuple[str, Role | None]:
    for end, role in ROLES.items():
        if key.endswith(end):
            return key.removesuffix(end), role
    return key, None


def _target(place: str) -> tuple[LoraTarget, str] | None:
    flat = place.removeprefix("base_model.model.").replace(".processor.", ".").replace(".", "_")
    for prefix, part in PREFIXES.items():
        if flat.startswith(prefix):
            layer = flat.removeprefix(prefix).removeprefix("text_model_")
            return part, OLD_ATTENTION.sub(r"self_attn_\1_proj", layer)
    if flat.startswith(("down_blocks_", "mid_block_", "up_blocks_")):
        return "unet", flat
    return None


def _input_width(heads: Mapping[Role, TensorInfo]) -> int:
    """How many inputs the changed layer has; 0 where that is not seen."""
    for role in ("down", "hada_w1_b", "diff"):
        if role in heads and len(heads[role].shape) > 1:
            return heads[role].shape[1]
    halves = [
        heads[role].shape[1]
        for names in (("lokr_w1", "lokr_w1_b"), ("lokr_w2", "lokr_w2_b"))
        for role in names
        if role in heads and len(heads[role].shape) > 1
    ]
    return halves[0] * halves[1] if len(halves) == 2 else 0
