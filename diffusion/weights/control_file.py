"""ControlNets on disk: a diffusers folder, or a file with diffusers' or the original keys.

The network's configuration is read from the shapes of its tensors. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..families.family import Family
from ..families.stored import StoredNetwork, TensorInfos
from ..families.table import FoundControl, family_for, find_control
from ..families.unet_keys import map_encoder_keys
from .config_file import ConfigFile, read_config
from .detect import MAX_LEVELS, WEIGHT_FILES, check_weights
from .headers import read_tensor_infos
from .parameters import check_parameters, control_sizes, union_sizes

KINDS = ("ControlNetModel", "ControlNetUnionModel")
# A key that only union ControlNets have, which take several kinds of images.
UNION_KEY = "task_embedding"
HINT_CHANNELS = "conditioning_embedding_out_channels"
PREFIX = "control_model."
ZERO_CONV = re.compile(r"zero_convs\.(\d+)\.0\.(weight|bias)")
HINT_LAYERS = (0, 2, 4, 6, 8, 10, 12, 14)
# Marks a file that holds the difference to a model's weights; see DiffControlNetLoader.
DIFFERENCE_KEY = "difference"


def check_control(path: Path, with_model: bool = False) -> None:
    """Check that a ControlNet can be loaded.

    Args:
        with_model: a model is given, to which a difference can be added.

    Raises:
        ModelFileError: it is incomplete, damaged, unsafe, or not a ControlNet.
    """
    if path.is_dir():
        detect_control_family(path)
        check_weights(path, WEIGHT_FILES["unet"])
        return
    infos = read_tensor_infos(path)
    found_control = find_file_control(path)
    if found_control is not None:
        check_parameters(path, found_control.network, found_control.architecture.sizes)
        return
    network = read_control_network(path.name, infos)
    check_parameters(path, network, union_sizes if UNION_KEY in infos else control_sizes)
    if DIFFERENCE_KEY in infos and not with_model:
        raise ModelFileError(
            f"{path.name} holds a difference to a model; load it with DiffControlNetLoader"
        )


def detect_control_family(path: Path) -> Family:
    """Return the family of the models that a ControlNet works with.

    Raises:
        ModelFileError: it is not a ControlNet.
    """
    found_control = find_file_control(path) if path.is_file() else None
    if found_control is not None:
        return found_control.family
    if path.is_file():
        values = read_control_network(path.name, read_tensor_infos(path)).config
        config = ConfigFile(path.name, {**values, HINT_CHANNELS: list(values[HINT_CHANNELS])})
    else:
        config = read_config(path / "config.json")
        if config.values.get("_class_name") not in KINDS:
            raise config.error("_class_name", " or ".join(KINDS))
    # Each level of the hint's own network halves its size, down to that of a latent.
    levels = config.read_length(HINT_CHANNELS, 4, MAX_LEVELS)
    family = family_for(config.read_count("cross_attention_dim"))
    return replace(family, space=replace(family.space, cell_px=2 ** (levels - 1)))


def find_file_control(path: Path) -> FoundControl | None:
    """Return the ControlNet of a file, if it is one that reads latents; else None.

    Raises:
        ModelFileError: it is of a kind that is not supported.
    """
    try:
        return find_control(read_tensor_infos(path))
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error


def is_union_control(path: Path) -> bool:
    """Return True for a ControlNet that takes several kinds of images, selected by a type."""
    if path.is_file():
        return UNION_KEY in read_tensor_infos(path)
    return read_config(path / "config.json").values.get("_class_name") == KINDS[1]


def read_control_network(name: str, infos: TensorInfos) -> StoredNetwork:
    """Return the configuration and the key map of the ControlNet in a file.

    Raises:
        ModelFileError: the file holds no ControlNet.
    """
    names = _map_keys(infos)
    shapes = {ours: infos[theirs].shape for theirs, ours in names.items()}
    try:
        config = _config(shapes)
    except (KeyError, IndexError, StopIteration, ZeroDivisionError) as error:
        raise ModelFileError(f"{name} holds no ControlNet") from error
    # Only its file name shows that a shuffle ControlNet averages its outputs.
    config["global_pool_conditions"] = "shuffle" in name
    return StoredNetwork(config, names)


def _map_keys(infos: TensorInfos) -> dict[str, str]:
    """Return diffusers' name of each key."""
    if "controlnet_cond_embedding.conv_in.weight" in infos:
        return {name: name for name in infos if name != DIFFERENCE_KEY}
    prefix = PREFIX if f"{PREFIX}zero_convs.0.0.weight" in infos else ""
    names = map_encoder_keys(infos, prefix).names
    modules = {
        "middle_block_out.0": "controlnet_mid_block",
        "label_emb.0.0": "add_embedding.linear_1",
        "label_emb.0.2": "add_embedding.linear_2",
    }
    first, *blocks, last = HINT_LAYERS
    hint = "controlnet_cond_embedding"
    modules |= {f"input_hint_block.{first}": f"{hint}.conv_in"}
    modules |= {f"input_hint_block.{n}": f"{hint}.blocks.{i}" for i, n in enumerate(blocks)}
    modules |= {f"input_hint_block.{last}": f"{hint}.conv_out"}
    for theirs in infos:
        key = theirs.removeprefix(prefix)
        zero_conv = ZERO_CONV.fullmatch(key)
        if zero_conv:
            names[theirs] = f"controlnet_down_blocks.{zero_conv[1]}.{zero_conv[2]}"
        module, _, kind = key.rpartition(".")
        if module in modules:
            names[theirs] = f"{modules[module]}.{kind}"
    return names


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the arguments of diffusers' ControlNetModel or ControlNetUnionModel."""
    levels = range(_count(shapes, "down_blocks."))
    depths = [_count(shapes, f"down_blocks.{i}.attentions.0.transformer_blocks.") for i in levels]
    depths.append(_count(shapes, "mid_block.attentions.0.transformer_blocks."))
    channels = tuple(shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in levels)
    width = next(shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight"))
    linear = next(len(shape) for name, shape in shapes.items() if name.endswith("proj_in.weight"))
    # The last level's depth is also the middle block's; for a level without attention it is unused.
    layers = [max(depth, 1) for depth in depths[:-1]]
    layers[-1] = depths[-1] or layers[-1]
    hint, add_embedding = "controlnet_cond_embedding", shapes.get("add_embedding.linear_1.weight")
    hint_blocks = range(1, _count(shapes, f"{hint}.blocks."), 2)
    config: dict[str, Any] = {
        "in_channels": shapes["conv_in.weight"][1],
        "layers_per_block": _count(shapes, "down_blocks.0.resnets."),
        "block_out_channels": channels,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths[:-1]
        ),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if depths[-1] else "UNetMidBlock2D",
        "transformer_layers_per_block": tuple(layers),
        "cross_attention_dim": width,
        # Stable Diffusion 1.x has eight heads on each level, later ones have heads of width 64.
        "attention_head_dim": tuple(count // 64 for count in channels) if width > 768 else 8,
        "use_linear_projection": linear == 2,
        "conditioning_channels": shapes[f"{hint}.conv_in.weight"][1],
        HINT_CHANNELS: (
            shapes[f"{hint}.conv_in.weight"][0],
            *(shapes[f"{hint}.blocks.{i}.weight"][0] for i in hint_blocks),
        ),
    }
    if add_embedding is not None:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": add_embedding[1],
        }
    if UNION_KEY in shapes:
        del config["mid_block_type"]
        config |= {
            "num_control_type": shapes[UNION_KEY][0],
            "num_trans_channel": shapes[UNION_KEY][1],
            "num_trans_layer": _count(shapes, "transformer_layes."),
            "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
            "addition_time_embed_dim": (
                shapes["control_add_embedding.linear_1.weight"][1] // shapes[UNION_KEY][0]
            ),
        }
    return config


def _count(shapes: Mapping[str, object], prefix: str) -> int:
    return len({name.split(prefix)[1].split(".")[0] for name in shapes if name.startswith(prefix)})
