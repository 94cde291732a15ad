"""The original code's names of a denoising network's layers, which some LoRA files use."""

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
OUTER_LAYERS = {
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
    """Return our name of each layer, by the original code's name."""
    ours = list(layers)
    blocks = _map_blocks(ours)
    names: dict[str, str] = {}
    for layer in ours:
        match = BLOCK.match(layer)
        theirs = OUTER_LAYERS.get(layer) if match is None else blocks.get(match[0])
        if theirs is None:
            continue
        inner = layer[match.end() + 1 :] if match else ""
        if match and ".resnets." in match[0]:
            inner = RESNET.get(inner, inner)
        elif match and "sampler" in match[0]:
            inner = "op" if "down" in match[0] else "conv"
        names[f"{theirs}.{inner}" if inner else theirs] = layer
    return names


def _map_blocks(layers: list[str]) -> dict[str, str]:
    """Return the original name of each residual block, attention block and resampler."""
    names, sizes = dict(MIDDLE), _count_resnets(layers)
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
        has_attention = any(layer.startswith(f"up_blocks.{level}.attentions.") for layer in layers)
        for layer in range(size + 1):
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{index}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{index}.1"
            index += 1
        last = f"output_blocks.{index - 1}.{1 + has_attention}"
        names[f"up_blocks.{level}.upsamplers.0"] = last
    return names


def _count_resnets(layers: list[str]) -> list[int]:
    """Return the number of residual blocks of each level of the encoder."""
    blocks = {
        (int(match[1]), int(match[2]))
        for layer in layers
        if (match := re.match(r"down_blocks\.(\d+)\.resnets\.(\d+)\.", layer))
    }
    levels = 1 + max((level for level, _ in blocks), default=-1)
    return [sum(block_level == level for block_level, _ in blocks) for level in range(levels)]
