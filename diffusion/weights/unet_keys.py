"""Denoising networks by their keys: names of the original code, and the shape they tell.

Depths, channels and attention are read from what is there, so that a shortened or distilled
member of a family loads too. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from . import unet_names
from .keys import TensorInfos, count_members, rename_module

HEAD_CHANNELS = 64
SD15_HEADS = 8
SIZE_DIM = 256
RESNET = {theirs: ours for ours, theirs in unet_names.RESNET.items()}
ENDS = {theirs: ours for ours, theirs in unet_names.ENDS.items()}


@dataclass(frozen=True)
class EncoderKeys:
    """The first half of a network, which ControlNets copy.

    Attributes:
        names: our name of each key of the embeddings, input blocks and middle block.
        layers: how many residual layers each level has.
    """

    names: dict[str, str]
    layers: tuple[int, ...]


def map_encoder_keys(heads: TensorInfos, prefix: str) -> EncoderKeys:
    """The first half of a network whose keys are the original code's, behind a prefix."""
    names: dict[str, str] = {}
    for theirs, ours in ENDS.items():
        names |= rename_module(heads, prefix + theirs, ours)
    layers = [0]
    for index in range(1, count_members(heads, f"{prefix}input_blocks.")):
        block = f"{prefix}input_blocks.{index}"
        down = f"down_blocks.{len(layers) - 1}"
        if f"{block}.0.op.weight" in heads:
            names |= rename_module(heads, f"{block}.0.op", f"{down}.downsamplers.0.conv")
            layers.append(0)
            continue
        names |= _layer(heads, block, down, layers[-1])
        layers[-1] += 1
    middle, last = f"{prefix}middle_block", "mid_block.resnets"
    if f"{middle}.1.norm.weight" in heads:
        names |= rename_module(heads, f"{middle}.1", "mid_block.attentions.0")
    names |= _resnet(heads, f"{middle}.0", f"{last}.0")
    names |= _resnet(heads, f"{middle}.2", f"{last}.1")
    return EncoderKeys(names, tuple(layers))


def map_unet_keys(heads: TensorInfos, prefix: str) -> dict[str, str]:
    """Our name of each key of a whole network in the original code's names."""
    half = map_encoder_keys(heads, prefix)
    names = dict(half.names)
    places = [
        (up, layer)
        for up, layers in enumerate(reversed(half.layers))
        for layer in range(layers + 1)
    ]
    for index, (up, layer) in enumerate(places):
        block = f"{prefix}output_blocks.{index}"
        names |= _layer(heads, block, f"up_blocks.{up}", layer)
        for place in (1, 2):
            if f"{block}.{place}.conv.weight" in heads:
                theirs = f"{block}.{place}.conv"
                names |= rename_module(heads, theirs, f"up_blocks.{up}.upsamplers.0.conv")
    return names


def read_unet_config(heads: TensorInfos) -> dict[str, Any]:
    """The configuration of a network whose keys have our (diffusers') names.

    Raises:
        ModelFileError: keys are missing, or the shape is none that the network class can take.
    """
    try:
        return _config(heads)
    except KeyError as error:
        raise ModelFileError(f"the denoising network lacks {error.args[0]}") from error


def find_context_width(heads: TensorInfos) -> int:
    """Width of the text encoding that a network attends to; 0 where it attends to none."""
    for name, head in heads.items():
        if name.endswith("attn2.to_k.weight") and len(head.shape) == 2:
            return head.shape[1]
    return 0


def _config(heads: TensorInfos) -> dict[str, Any]:
    levels = count_members(heads, "down_blocks.")
    downs = [_depths(heads, f"down_blocks.{level}") for level in range(levels)]
    ups = [_depths(heads, f"up_blocks.{level}") for level in range(levels)]
    channels = tuple(
        heads[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)
    )
    middle = count_members(heads, "mid_block.attentions.0.transformer_blocks.")
    linear = any(
        name.endswith("proj_in.weight") and len(head.shape) == 2 for name, head in heads.items()
    )
    config: dict[str, Any] = {
        "in_channels": heads["conv_in.weight"].shape[1],
        "out_channels": heads["conv_out.weight"].shape[0],
        "layers_per_block": tuple(len(depths) for depths in downs),
        "block_out_channels": channels,
        "down_block_types": tuple(_kind("Down", any(depths)) for depths in downs),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "up_block_types": tuple(_kind("Up", any(depths)) for depths in ups),
        "transformer_layers_per_block": _with_middle(downs, middle),
        "reverse_transformer_layers_per_block": tuple(depths or (1,) for depths in map(_kept, ups)),
        "cross_attention_dim": find_context_width(heads),
        "use_linear_projection": linear,
        "attention_head_dim": (
            tuple(max(1, width // HEAD_CHANNELS) for width in channels) if linear else SD15_HEADS
        ),
    }
    if "add_embedding.linear_1.weight" in heads:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_DIM,
            "projection_class_embeddings_input_dim": heads["add_embedding.linear_1.weight"].shape[
                1
            ],
        }
    if "time_embedding.cond_proj.weight" in heads:
        config["time_cond_proj_dim"] = heads["time_embedding.cond_proj.weight"].shape[1]
    return config


def _depths(heads: TensorInfos, block: str) -> tuple[int, ...]:
    """How many transformer blocks follow each residual layer."""
    return tuple(
        count_members(heads, f"{block}.attentions.{layer}.transformer_blocks.")
        for layer in range(count_members(heads, f"{block}.resnets."))
    )


def _kept(depths: tuple[int, ...]) -> tuple[int, ...]:
    """The depths of a level with attention after each layer; none for one without.

    Raises:
        ModelFileError: only some layers have attention, which the network class cannot take.
    """
    if any(depths) and not all(depths):
        raise ModelFileError("a level of the network has attention after some of its layers only")
    return depths if any(depths) else ()


def _with_middle(downs: list[tuple[int, ...]], middle: int) -> tuple[tuple[int, ...], ...]:
    """Depths of each level; the network class takes the middle block's from the last of them."""
    found = [_kept(depths) or (1,) for depths in downs]
    if not any(downs[-1]):
        found[-1] = (middle or 1,) * len(downs[-1])
    elif middle and found[-1][0] != middle:
        raise ModelFileError("the network's middle block is not as deep as the level before it")
    return tuple(found)


def _kind(way: str, attend: bool) -> str:
    return f"CrossAttn{way}Block2D" if attend else f"{way}Block2D"


def _layer(heads: TensorInfos, block: str, ours: str, layer: int) -> dict[str, str]:
    names = _resnet(heads, f"{block}.0", f"{ours}.resnets.{layer}")
    if f"{block}.1.norm.weight" in heads:
        names |= rename_module(heads, f"{block}.1", f"{ours}.attentions.{layer}")
    return names


def _resnet(heads: TensorInfos, theirs: str, ours: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for part, name in RESNET.items():
        names |= rename_module(heads, f"{theirs}.{part}", f"{ours}.{name}")
    return names
