"""Stable Diffusion checkpoints in one file: what is in them, from their keys and shapes alone.

Keys of the original code are mapped to diffusers' and transformers' names, and the shape of each
network is read from them, so that a shortened member of a family loads too. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ModelFileError
from .families import Family, family_for
from .headers import TensorHead, read_heads

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
Heads = Mapping[str, TensorHead]


@dataclass(frozen=True)
class Part:
    """One network of a file: its configuration, and its name of each of the file's keys."""

    config: dict[str, Any]
    names: dict[str, str]


def read_checkpoint(path: Path) -> Heads:
    """The tensors of a file that holds a checkpoint which can be loaded.

    Raises:
        ModelFileError: it is no safetensors file, no checkpoint, or of a family that is not
            read from one file yet.
    """
    heads = read_heads(path)
    for prefix, what in ((UNET, "denoising network"), (VAE, "autoencoder"), (TEXT, "text encoder")):
        if not any(name.startswith(prefix) for name in heads):
            raise ModelFileError(f"{path.name} holds no {what} of Stable Diffusion 1.x")
    width = _context_width(heads)
    if width != 768:
        name = family_for(width).name
        raise ModelFileError(
            f"{path.name} is of family {name}; only sd15 is read from one file yet"
        )
    return heads


def file_family(path: Path) -> Family:
    """The family of a checkpoint in one file."""
    return family_for(_context_width(read_checkpoint(path)))


class Encoder(NamedTuple):
    """The first half of a denoising network, which ControlNets copy.

    Attributes:
        names: our name of each key of time embedding, input and middle blocks.
        channels, attends, layers: of each level.
    """

    names: dict[str, str]
    channels: list[int]
    attends: list[bool]
    layers: list[int]


def encoder(heads: Heads, prefix: str) -> Encoder:
    """The first half of a network in the original code's keys."""
    names: dict[str, str] = {}
    for theirs, ours in (
        ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"),
        ("input_blocks.0.0", "conv_in"),
    ):
        names |= _renamed(heads, prefix + theirs, ours)
    channels, attends, layers, level = [0], [False], [0], 0
    for index in range(1, _count(heads, f"{prefix}input_blocks.")):
        block = f"{prefix}input_blocks.{index}"
        if f"{block}.0.op.weight" in heads:
            names |= _renamed(heads, f"{block}.0.op", f"down_blocks.{level}.downsamplers.0.conv")
            level += 1
            channels, attends, layers = [*channels, 0], [*attends, False], [*layers, 0]
            continue
        names |= _block(heads, block, f"down_blocks.{level}", layers[level])
        channels[level] = heads[f"{block}.0.in_layers.2.weight"].shape[0]
        attends[level] |= f"{block}.1.norm.weight" in heads
        layers[level] += 1
    for place, kind, number in ((0, "resnets", 0), (1, "attentions", 0), (2, "resnets", 1)):
        name = f"mid_block.{kind}.{number}"
        rename = _resnet if kind == "resnets" else _renamed
        names |= rename(heads, f"{prefix}middle_block.{place}", name)
    return Encoder(names, channels, attends, layers)


def unet_part(heads: Heads) -> Part:
    """The denoising network: levels, channels and attention as the keys have them."""
    names, channels, attends, layers = encoder(heads, UNET)
    names |= _renamed(heads, f"{UNET}out.0", "conv_norm_out")
    names |= _renamed(heads, f"{UNET}out.2", "conv_out")
    for index in range(_count(heads, f"{UNET}output_blocks.")):
        block, (up, layer) = f"{UNET}output_blocks.{index}", divmod(index, layers[0] + 1)
        names |= _block(heads, block, f"up_blocks.{up}", layer)
        for place in (1, 2):
            if f"{block}.{place}.conv.weight" in heads:
                names |= _renamed(
                    heads, f"{block}.{place}.conv", f"up_blocks.{up}.upsamplers.0.conv"
                )
    config = {
        "sample_size": 64,
        "in_channels": heads[f"{UNET}input_blocks.0.0.weight"].shape[1],
        "out_channels": heads[f"{UNET}out.2.weight"].shape[0],
        "layers_per_block": layers[0],
        "block_out_channels": tuple(channels),
        "down_block_types": tuple(_kind("Down", attend) for attend in attends),
        "up_block_types": tuple(_kind("Up", attend) for attend in reversed(attends)),
        "cross_attention_dim": _context_width(heads),
        "attention_head_dim": 8,
    }
    return Part(config, names)


def vae_part(heads: Heads) -> Part:
    """The autoencoder."""
    levels = _count(heads, f"{VAE}encoder.down.")
    names: dict[str, str] = {}
    for name in heads:
        if name.startswith(VAE):
            names[name] = _vae_name(name.removeprefix(VAE), levels)
    channels = tuple(
        heads[f"{VAE}encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(levels)
    )
    config = {
        "block_out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "layers_per_block": _count(heads, f"{VAE}encoder.down.0.block."),
        "latent_channels": heads[f"{VAE}decoder.conv_in.weight"].shape[1],
        "sample_size": 512,
    }
    return Part(config, names)


def text_part(heads: Heads) -> Part:
    """The CLIP text encoder."""
    names = {
        name: name.removeprefix(TEXT)
        for name in heads
        if name.startswith(TEXT) and not name.endswith("position_ids")
    }
    words, width = heads[f"{TEXT}embeddings.token_embedding.weight"].shape
    config = {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": heads[f"{TEXT}encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(heads, f"{TEXT}encoder.layers."),
        "num_attention_heads": width // 64,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
        "hidden_act": "quick_gelu",
    }
    return Part(config, names)


def _context_width(heads: Heads) -> int:
    for name, head in heads.items():
        if name.startswith(UNET) and name.endswith("attn2.to_k.weight"):
            return head.shape[1]
    return 0


def _count(heads: Heads, prefix: str) -> int:
    numbers = {
        int(name.removeprefix(prefix).partition(".")[0])
        for name in heads
        if name.startswith(prefix)
    }
    return len(numbers)


def _kind(way: str, attend: bool) -> str:
    return f"CrossAttn{way}Block2D" if attend else f"{way}Block2D"


def _block(heads: Heads, block: str, ours: str, layer: int) -> dict[str, str]:
    names = _resnet(heads, f"{block}.0", f"{ours}.resnets.{layer}")
    if f"{block}.1.norm.weight" in heads:
        names |= _renamed(heads, f"{block}.1", f"{ours}.attentions.{layer}")
    return names


RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def _resnet(heads: Heads, theirs: str, ours: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for part, name in RESNET.items():
        names |= _renamed(heads, f"{theirs}.{part}", f"{ours}.{name}")
    return names


def _renamed(heads: Heads, theirs: str, ours: str) -> dict[str, str]:
    return {
        name: ours + name.removeprefix(theirs) for name in heads if name.startswith(f"{theirs}.")
    }


def _vae_name(name: str, levels: int) -> str:
    name = name.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
    name = re.sub(r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets.", name)
    name = re.sub(r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0.", name)

    def up(found: re.Match[str]) -> str:
        kind = "resnets." if found.group(2) == "block" else "upsamplers.0."
        return f".up_blocks.{levels - 1 - int(found.group(1))}.{kind}"

    name = re.sub(r"\.up\.(\d+)\.(block|upsample)\.", up, name)
    name = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
    for theirs, ours in (
        ("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"),
        ("proj_out", "to_out.0"),
    ):  # fmt: skip
        name = name.replace(f".mid.attn_1.{theirs}.", f".mid_block.attentions.0.{ours}.")
    return name
