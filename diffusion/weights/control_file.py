"""ControlNets on disk: a diffusers folder, or one file in diffusers' or the original keys.

The shape of the network is read from the keys. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..families.family import Family, family_for
from .config_file import ConfigFile, read_config
from .detect import MAX_LEVELS, WEIGHT_FILES, check_weights
from .headers import read_tensor_infos
from .keys import StoredNetwork, TensorInfos
from .unet_keys import map_encoder_keys

KINDS = ("ControlNetModel", "ControlNetUnionModel")
# A key that only ControlNets for several kinds of images have.
UNION = "task_embedding"
HINT = "conditioning_embedding_out_channels"
PREFIX = "control_model."
OUTPUT = re.compile(r"zero_convs\.(\d+)\.0\.(weight|bias)")
HINT_LAYERS = (0, 2, 4, 6, 8, 10, 12, 14)
# Its file holds the difference to a model's own weights; see DiffControlNetLoader.
DIFFERENCE_KEY = "difference"


def check_control(path: Path, with_model: bool = False) -> None:
    """Whether a ControlNet can be loaded.

    Args:
        with_model: there is a model to add a difference to.

    Raises:
        ModelFileError: it is incomplete, damaged, unsafe, or no ControlNet.
    """
    if path.is_dir():
        detect_control_family(path)
        check_weights(path, WEIGHT_FILES["unet"])
        return
    heads = read_tensor_infos(path)
    read_control_network(path.name, heads)
    if DIFFERENCE_KEY in heads and not with_model:
        raise ModelFileError(
            f"{path.name} holds a difference to a model; load it with DiffControlNetLoader"
        )


def detect_control_family(path: Path) -> Family:
    """The family of the models that a ControlNet fits.

    Raises:
        ModelFileError: it is no ControlNet.
    """
    if path.is_file():
        part = read_control_network(path.name, read_tensor_infos(path))
        config = ConfigFile(path.name, {**part.config, HINT: list(part.config[HINT])})
    else:
        config = read_config(path / "config.json")
        if config.values.get("_class_name") not in KINDS:
            raise config.error("_class_name", " or ".join(KINDS))
    # Each step of the hint's own network halves it, down to the size of a latent.
    levels = config.read_length(HINT, 4, MAX_LEVELS)
    return replace(
        family_for(config.read_count("cross_attention_dim")), vae_factor=2 ** (levels - 1)
    )


def is_union_control(path: Path) -> bool:
    """Whether a ControlNet takes several kinds of images, and is told which."""
    if path.is_file():
        return UNION in read_tensor_infos(path)
    return read_config(path / "config.json").values.get("_class_name") == KINDS[1]


def read_control_network(name: str, heads: TensorInfos) -> StoredNetwork:
    """The network of a file: its configuration, and its name of each key.

    Raises:
        ModelFileError: the file holds no ControlNet.
    """
    names = _names(heads)
    shapes = {ours: heads[theirs].shape for theirs, ours in names.items()}
    try:
        config = _config(shapes)
    except (KeyError, IndexError, StopIteration, ZeroDivisionError) as error:
        raise ModelFileError(f"{name} holds no ControlNet") from error
    # What tells this one net apart, which averages its outputs, is its name alone.
    config["global_pool_conditions"] = "shuffle" in name
    return StoredNetwork(config, names)


def _names(heads: TensorInfos) -> dict[str, str]:
    """diffusers' name of each key."""
    if "controlnet_cond_embedding.conv_in.weight" in heads:
        return {name: name for name in heads if name != DIFFERENCE_KEY}
    prefix = PREFIX if f"{PREFIX}zero_convs.0.0.weight" in heads else ""
    names = map_encoder_keys(heads, prefix).names
    parts = {"middle_block_out.0": "controlnet_mid_block"}
    parts |= {"label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2"}
    first, *blocks, last = HINT_LAYERS
    hint = "controlnet_cond_embedding"
    parts |= {f"input_hint_block.{first}": f"{hint}.conv_in"}
    parts |= {f"input_hint_block.{n}": f"{hint}.blocks.{i}" for i, n in enumerate(blocks)}
    parts |= {f"input_hint_block.{last}": f"{hint}.conv_out"}
    for theirs in heads:
        place = theirs.removeprefix(prefix)
        output = OUTPUT.fullmatch(place)
        if output:
            names[theirs] = f"controlnet_down_blocks.{output[1]}.{output[2]}"
        owner, _, kind = place.rpartition(".")
        if owner in parts:
            names[theirs] = f"{parts[owner]}.{kind}"
    return names


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The arguments of diffusers' ControlNetModel."""
    levels = range(_count(shapes, "down_blocks."))
    depths = [_count(shapes, f"down_blocks.{i}.attentions.0.transformer_blocks.") for i in levels]
    depths.append(_count(shapes, "mid_block.attentions.0.transformer_blocks."))
    channels = tuple(shapes[f"down_blocks.{i}.resnets.0.conv1.weight"][0] for i in levels)
    width = next(shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight"))
    linear = next(len(shape) for name, shape in shapes.items() if name.endswith("proj_in.weight"))
    # The last level's number is also the middle block's; a level without attention needs none.
    layers = [max(depth, 1) for depth in depths[:-1]]
    layers[-1] = depths[-1] or layers[-1]
    hint, added = "controlnet_cond_embedding", shapes.get("add_embedding.linear_1.weight")
    steps = range(1, _count(shapes, f"{hint}.blocks."), 2)
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
        # Stable Diffusion 1.x has eight heads on each level, the later ones heads of 64.
        "attention_head_dim": tuple(count // 64 for count in channels) if width > 768 else 8,
        "use_linear_projection": linear == 2,
        "conditioning_channels": shapes[f"{hint}.conv_in.weight"][1],
        HINT: (
            shapes[f"{hint}.conv_in.weight"][0],
            *(shapes[f"{hint}.blocks.{i}.weight"][0] for i in steps),
        ),
    }
    if added is not None:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": added[1],
        }
    if UNION in shapes:
        del config["mid_block_type"]
        config |= {
            "num_control_type": shapes[UNION][0],
            "num_trans_channel": shapes[UNION][1],
            "num_trans_layer": _count(shapes, "transformer_layes."),
            "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
            "addition_time_embed_dim": (
                shapes["control_add_embedding.linear_1.weight"][1] // shapes[UNION][0]
            ),
        }
    return config


def _count(shapes: Mapping[str, object], prefix: str) -> int:
    return len({name.split(prefix)[1].split(".")[0] for name in shapes if name.startswith(prefix)})
