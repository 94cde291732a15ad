"""Autoencoders by their keys: diffusers' names for them, and the configuration. No torch here."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ModelFileError
from ..families.stored import TensorInfos, count_members

ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
# Names of attention layers in diffusers before 0.14.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
MODULES = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


def map_vae_keys(infos: TensorInfos, prefix: str) -> dict[str, str]:
    """Return our name of each key of an autoencoder, which may be ours already."""
    keys = [name for name in infos if name.startswith(tuple(prefix + module for module in MODULES))]
    levels = count_members(infos, f"{prefix}encoder.down.")
    return {name: to_diffusers_key(name.removeprefix(prefix), levels) for name in keys}


def read_vae_config(infos: TensorInfos) -> dict[str, Any]:
    """Return the configuration of an autoencoder whose keys have our names.

    Raises:
        ModelFileError: keys are missing.
    """
    try:
        return _make_config(infos)
    except KeyError as error:
        raise ModelFileError(f"the autoencoder lacks {error.args[0]}") from error


def _make_config(infos: TensorInfos) -> dict[str, Any]:
    levels = count_members(infos, "encoder.down_blocks.")
    channels = tuple(
        infos[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"].shape[0]
        for level in range(levels)
    )
    return {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": count_members(infos, "encoder.down_blocks.0.resnets."),
        "latent_channels": infos["decoder.conv_in.weight"].shape[1],
        "use_quant_conv": "quant_conv.weight" in infos,
        "use_post_quant_conv": "post_quant_conv.weight" in infos,
        "sample_size": 512,
    }


def to_diffusers_key(name: str, levels: int) -> str:
    """Return our name of a key, which may be ours already."""
    name = name.replace("nin_shortcut", "conv_shortcut")
    name = re.sub(r"(?<!conv_)norm_out", "conv_norm_out", name)
    name = re.sub(r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets.", name)
    name = re.sub(r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0.", name)

    def reverse_level(match: re.Match[str]) -> str:
        kind = "resnets." if match[2] == "block" else "upsamplers.0."
        return f".up_blocks.{levels - 1 - int(match[1])}.{kind}"

    name = re.sub(r"\.up\.(\d+)\.(block|upsample)\.", reverse_level, name)
    name = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
    for theirs, ours in ATTENTION.items():
        name = name.replace(f".mid.attn_1.{theirs}.", f".mid_block.attentions.0.{ours}.")
    return rename_old_attention(name)


def rename_old_attention(name: str) -> str:
    """Return diffusers' current name of a key from before 0.14."""
    for theirs, ours in OLD_ATTENTION.items():
        name = name.replace(f".attentions.0.{theirs}.", f".attentions.0.{ours}.")
    return name
