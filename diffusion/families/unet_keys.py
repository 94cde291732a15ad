"""Denoising networks by their keys: diffusers' names for them, and the configuration.

Depths, channels and attention are read from the shapes, so that a shortened or distilled member
of a family loads too. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ModelFileError
from . import unet_names
from .stored import TensorInfos, count_members, rename_module

HEAD_CHANNELS = 64
SD15_HEADS = 8
SIZE_DIM = 256
RESNET = {theirs: ours for ours, theirs in unet_names.RESNET.items()}
OUTER_LAYERS = {theirs: ours for ours, theirs in unet_names.OUTER_LAYERS.items()}


@dataclass(frozen=True)
class EncoderKeys:
    """The keys of a network's encoder half, which ControlNets copy.

    Attributes:
        names: our name of each key of the embeddings, input blocks and middle block.
        layers: the number of residual layers of each level.
    """

    names: dict[str, str]
    layers: tuple[int, ...]


def map_encoder_keys(infos: TensorInfos, prefix: str) -> EncoderKeys:
    """Return the encoder half of a network with the original code's keys after a prefix."""
    names: dict[str, str] = {}
    for theirs, ours in OUTER_LAYERS.items():
        names |= rename_module(infos, prefix + theirs, ours)
    layers = [0]
    for index in range(1, count_members(infos, f"{prefix}input_blocks.")):
        block = f"{prefix}input_blocks.{index}"
        down = f"down_blocks.{len(layers) - 1}"
        if f"{block}.0.op.weight" in infos:
            names |= rename_module(infos, f"{block}.0.op", f"{down}.downsamplers.0.conv")
            layers.append(0)
            continue
        names |= _map_layer(infos, block, down, layers[-1])
        layers[-1] += 1
    middle, resnets = f"{prefix}middle_block", "mid_block.resnets"
    if f"{middle}.1.norm.weight" in infos:
        names |= rename_module(infos, f"{middle}.1", "mid_block.attentions.0")
    names |= _map_resnet(infos, f"{middle}.0", f"{resnets}.0")
    names |= _map_resnet(infos, f"{middle}.2", f"{resnets}.1")
    return EncoderKeys(names, tuple(layers))


def map_unet_keys(infos: TensorInfos, prefix: str) -> dict[str, str]:
    """Return our name of each key of a complete network with the original code's keys."""
    encoder = map_encoder_keys(infos, prefix)
    names = dict(encoder.names)
    up_layers = [
        (up, layer)
        for up, layers in enumerate(reversed(encoder.layers))
        for layer in range(layers + 1)
    ]
    for index, (up, layer) in enumerate(up_layers):
        block = f"{prefix}output_blocks.{index}"
        names |= _map_layer(infos, block, f"up_blocks.{up}", layer)
        for position in (1, 2):
            theirs = f"{block}.{position}.conv"
            if f"{theirs}.weight" in infos:
                names |= rename_module(infos, theirs, f"up_blocks.{up}.upsamplers.0.conv")
    return names


def read_unet_config(infos: TensorInfos) -> dict[str, Any]:
    """Return the configuration of a network whose keys have our names.

    Raises:
        ModelFileError: keys are missing, or the network class does not support the shape.
    """
    try:
        return _make_config(infos)
    except KeyError as error:
        raise ModelFileError(f"the denoising network lacks {error.args[0]}") from error


def find_context_width(infos: TensorInfos) -> int:
    """Return the width of the text encoding that a network attends to; 0 if to none."""
    for name, head in infos.items():
        if name.endswith("attn2.to_k.weight") and len(head.shape) == 2:
            return head.shape[1]
    return 0


def _make_config(infos: TensorInfos) -> dict[str, Any]:
    levels = count_members(infos, "down_blocks.")
    downs = [_depths(infos, f"down_blocks.{level}") for level in range(levels)]
    ups = [_depths(infos, f"up_blocks.{level}") for level in range(levels)]
    channels = tuple(
        infos[f"down_blocks.{level}.resnets.0.conv1.weight"].shape[0] for level in range(levels)
    )
    reverse_depths = tuple(_level_depths(depths) or (1,) for depths in ups)
    middle = count_members(infos, "mid_block.attentions.0.transformer_blocks.")
    linear = any(
        name.endswith("proj_in.weight") and len(head.shape) == 2 for name, head in infos.items()
    )
    config: dict[str, Any] = {
        "in_channels": infos["conv_in.weight"].shape[1],
        "out_channels": infos["conv_out.weight"].shape[0],
        "layers_per_block": tuple(len(depths) for depths in downs),
        "block_out_channels": channels,
        "down_block_types": tuple(_block_type("Down", any(depths)) for depths in downs),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "up_block_types": tuple(_block_type("Up", any(depths)) for depths in ups),
        "transformer_layers_per_block": _with_middle(downs, middle),
        "reverse_transformer_layers_per_block": reverse_depths,
        "cross_attention_dim": find_context_width(infos),
        "use_linear_projection": linear,
        "attention_head_dim": (
            tuple(max(1, count // HEAD_CHANNELS) for count in channels) if linear else SD15_HEADS
        ),
    }
    if "add_embedding.linear_1.weight" in infos:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_DIM,
            "projection_class_embeddings_input_dim": infos["add_embedding.linear_1.weight"].shape[
                1
            ],
        }
    if "time_embedding.cond_proj.weight" in infos:
        config["time_cond_proj_dim"] = infos["time_embedding.cond_proj.weight"].shape[1]
    return config


def _depths(infos: TensorInfos, block: str) -> tuple[int, ...]:
    """Return the number of transformer blocks after each residual layer."""
    return tuple(
        count_members(infos, f"{block}.attentions.{layer}.transformer_blocks.")
        for layer in range(count_members(infos, f"{block}.resnets."))
    )


def _level_depths(depths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the depths of a level with attention after every layer; none if without attention.

    Raises:
        ModelFileError: only some layers have attention, which the network class does not support.
    """
    if any(depths) and not all(depths):
        raise ModelFileError("a level of the network has attention after some of its layers only")
    return depths if any(depths) else ()


def _with_middle(downs: list[tuple[int, ...]], middle: int) -> tuple[tuple[int, ...], ...]:
    """Return the depths of each level; the class takes the middle block's from the last level."""
    depths = [_level_depths(level) or (1,) for level in downs]
    if not any(downs[-1]):
        depths[-1] = (middle or 1,) * len(downs[-1])
    elif middle and depths[-1][0] != middle:
        raise ModelFileError("the network's middle block is not as deep as the level before it")
    return tuple(depths)


def _block_type(direction: str, has_attention: bool) -> str:
    return f"CrossAttn{direction}Block2D" if has_attention else f"{direction}Block2D"


def _map_layer(infos: TensorInfos, block: str, ours: str, layer: int) -> dict[str, str]:
    names = _map_resnet(infos, f"{block}.0", f"{ours}.resnets.{layer}")
    if f"{block}.1.norm.weight" in infos:
        names |= rename_module(infos, f"{block}.1", f"{ours}.attentions.{layer}")
    return names


def _map_resnet(infos: TensorInfos, theirs: str, ours: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for their_part, our_part in RESNET.items():
        names |= rename_module(infos, f"{theirs}.{their_part}", f"{ours}.{our_part}")
    return names
