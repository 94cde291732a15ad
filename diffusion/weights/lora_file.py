"""LoRA files: which layer each key changes, and how. No torch here.

Layer names have underscores for dots, as kohya's tools write them. This way diffusers', PEFT's
and the original code's names are the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ModelFileError
from ..families.table import ARCHITECTURES, family_of_lora
from ..families.tensor_info import TensorInfo
from .headers import read_tensor_infos

LoraTarget = Literal["unet", "text", "text_2"]
Role = str

# The role of a tensor by the suffix of its key; longer suffixes first.
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
# Kohya's OFT changes other layers than LyCORIS' OFT, and is not supported.
UNSUPPORTED_KINDS = {"oft_unet_": "OFT"}
# Wrappers around a network's names, which do not say which network it is.
WRAPPERS = ("base_model_model_", "lycoris_", "model_diffusion_model_", "text_encoders_")
# The networks by the prefix of a name; longer prefixes first.
PREFIXES: dict[str, LoraTarget] = {
    "lora_unet_": "unet",
    "lora_te1_": "text",
    "lora_te2_": "text_2",
    "lora_te_": "text",
    "diffusion_model_": "unet",
    "unet_": "unet",
    "transformer_": "unet",
    "text_encoder_2_": "text_2",
    "text_encoder_1_": "text",
    "text_encoder_": "text",
    "clip_l_": "text",
    "clip_g_": "text_2",
    "text_model_": "text",
}
# How the names of denoising networks' layers begin, here and in the original code.
LAYER_STARTS = sorted({start for network in ARCHITECTURES for start in network.layer_starts})
NETWORK_LAYERS = re.compile(rf"({'|'.join(LAYER_STARTS)})(_|$)")
OLD_ATTENTION = re.compile(r"self_attn_to_(q|k|v|out)$")


@dataclass(frozen=True)
class LayerChange:
    """The change of one layer in a file.

    Attributes:
        target: the network with the layer.
        layer: its name with underscores.
        keys: the file's key for each role.
    """

    target: LoraTarget
    layer: str
    keys: Mapping[Role, str]


@dataclass(frozen=True)
class LoraContents:
    """The changes in a file.

    Attributes:
        changes: layer by layer.
        unknown: the keys of no known change, and second keys of one part.
    """

    changes: list[LayerChange]
    unknown: list[str]


def read_lora_contents(path: Path) -> LoraContents:
    """Read the changes of a file.

    Raises:
        ModelFileError: it is not a complete weight file, not a LoRA, or of an unsupported kind.
    """
    return parse_lora_keys(path.name, read_tensor_infos(path))


def parse_lora_keys(name: str, keys: Iterable[str]) -> LoraContents:
    """Return the changes that a file's keys stand for.

    Raises:
        ModelFileError: no key is known.
    """
    known: dict[tuple[LoraTarget, str], dict[Role, str]] = defaultdict(dict)
    unknown = []
    for key in keys:
        name_in_file, role = _split_role(key)
        target_layer = _find_layer(name_in_file)
        if role is None or target_layer is None:
            unknown.append(key)
        else:
            earlier = known[target_layer].setdefault(role, key)
            if earlier != key:
                unknown.append(key)
    for key in unknown:
        for marker, kind in UNSUPPORTED_KINDS.items():
            if marker in key:
                raise ModelFileError(f"{name} holds {kind} adapters, which are not supported")
    if not known:
        raise ModelFileError(f"{name} holds no LoRA")
    changes = [LayerChange(target, layer, keys) for (target, layer), keys in known.items()]
    return LoraContents(changes, unknown)


def check_lora(path: Path) -> None:
    """Check that a file is a LoRA that can be loaded.

    Raises:
        ModelFileError: it is not.
    """
    read_lora_contents(path)


def detect_lora_family(path: Path) -> str | None:
    """Return the family of the models that a LoRA fits; None if its keys do not say.

    Raises:
        ModelFileError: it is not a LoRA.
    """
    infos = read_tensor_infos(path)
    return family_of_lora(
        {
            change.layer: _input_width({role: infos[key] for role, key in change.keys.items()})
            for change in parse_lora_keys(path.name, infos).changes
            if change.target == "unet"
        }
    )


def _split_role(key: str) -> tuple[str, Role | None]:
    for suffix, role in ROLES.items():
        if key.endswith(suffix):
            return key.removesuffix(suffix), role
    return key, None


def _find_layer(name: str) -> tuple[LoraTarget, str] | None:
    """Return the network and the layer of a name in a file; None for an unknown name."""
    flat = _strip_wrappers(name.replace(".processor.", ".").replace(".", "_"))
    if NETWORK_LAYERS.match(flat):
        return "unet", flat
    for prefix, target in PREFIXES.items():
        if flat.startswith(prefix):
            layer = _strip_wrappers(flat.removeprefix(prefix))
            if target == "unet" and NETWORK_LAYERS.match(layer):
                return target, layer
            layer = layer.removeprefix("transformer_").removeprefix("text_model_")
            return target, OLD_ATTENTION.sub(r"self_attn_\1_proj", layer)
    return None


def _strip_wrappers(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _input_width(infos: Mapping[Role, TensorInfo]) -> int:
    """Return the number of inputs of the changed layer; 0 if the shapes do not say."""
    for role in ("down", "hada_w1_b", "diff"):
        if role in infos and len(infos[role].shape) > 1:
            return infos[role].shape[1]
    factors = [
        infos[role].shape[1]
        for roles in (("lokr_w1", "lokr_w1_b"), ("lokr_w2", "lokr_w2_b"))
        for role in roles
        if role in infos and len(infos[role].shape) > 1
    ]
    return factors[0] * factors[1] if len(factors) == 2 else 0
