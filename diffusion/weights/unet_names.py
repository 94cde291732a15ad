"""Names of a denoising network's layers in the original code, which some LoRA files use."""

from __future__ import annotations

import re
from collections.abc import Iterable

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
MIDDLE = {
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
BLOCK = re.compile(r"(?:\w+_blocks\.\d+|mid_block)\.(?:resnets|attentions|\w+samplers)\.\d+")


def map_original_layers(layers: Iterable[str]) -> dict[str, str]:
    """Our name of each layer by the original code's."""
    ours = list(layers)
    blocks = _blocks(ours)
    found: dict[str, str] = {}
    for layer in ours:
        match = BLOCK.match(layer)
        theirs = ENDS.get(layer) if match is None else blocks.get(match[0])
        if theirs is None:
            continue
        inner = layer[match.end() + 1 :] if match else ""
        if match and ".resnets." in match[0]:
            inner = RESNET.get(inner, inner)
        elif match and "sampler" in match[0]:
            inner = "op" if "down" in match[0] else "conv"
        found[f"{theirs}.{inner}" if inner else theirs] = layer
    return found


def _blocks(layers: list[str]) -> dict[str, str]:
    """The original name of each residual block, attention block and sampler."""
    names, sizes = dict(MIDDLE), _sizes(layers)
    index = 1
    for level, size in enumerate(sizes):
        for layer in range(size):
            names[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{index}.0"
            names[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{index}.1"
            index += 1
        names[f"down_blocks.{level}.downsamplers.0"] = f"input_blocks.{index}.0"
        index += 1
    index = 0
    for level, size in enumerate(reversed(sizes)):
        attends = any(layer.startswith(f"up_blocks.{level}.attentions.") for layer in layers)
        for layer in range(size + 1):
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{index}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{index}.1"
            index += 1
        last = f"output_blocks.{index - 1}.{1 + attends}"
        names[f"up_blocks.{level}.upsamplers.0"] = last
    return names


def _sizes(layers: list[str]) -> list[int]:
    """How many residual blocks each level of the first half has."""
    found = {
        (int(match[1]), int(match[2]))
        for layer in layers
        if (match := re.match(r"down_blocks\.(\d+)\.resnets\.(\d+)\.", layer))
    }
    levels = 1 + max((level for level, _ in found), default=-1)
    return [sum(each == level for each, _ in found) for level in range(levels)]
