"""The parameters of a UNet, from its configuration: name and number of elements. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .stored import Parameters

KERNEL = 9


def unet_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a denoising network."""
    yield from encoder_sizes(config)
    channels, width = config["block_out_channels"], config["cross_attention_dim"]
    first, current, last = channels[0], channels[-1], len(channels) - 1
    skips = skip_channels(config)
    depths = config["reverse_transformer_layers_per_block"]
    for level, size in enumerate(reversed(channels)):
        block = f"up_blocks.{level}"
        for layer in range(_layers(config, last - level) + 1):
            yield from resnet_sizes(
                f"{block}.resnets.{layer}", current + skips.pop(), size, 4 * first
            )
            if config["up_block_types"][level].startswith("CrossAttn"):
                depth = depths[level][layer]
                yield from _attention(f"{block}.attentions.{layer}", size, depth, width)
            current = size
        if level < last:
            yield from layer_sizes(f"{block}.upsamplers.0.conv", size, size * KERNEL)
    yield from layer_sizes("conv_norm_out", first, 1)
    yield from layer_sizes("conv_out", config["out_channels"], first * KERNEL)


def encoder_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the parameters of a denoising network's first half, which ControlNets copy."""
    channels, width = config["block_out_channels"], config["cross_attention_dim"]
    embedding = 4 * channels[0]
    yield from layer_sizes("conv_in", channels[0], config["in_channels"] * KERNEL)
    yield from layer_sizes("time_embedding.linear_1", embedding, channels[0])
    yield from layer_sizes("time_embedding.linear_2", embedding, embedding)
    if "time_cond_proj_dim" in config:
        yield "time_embedding.cond_proj.weight", channels[0] * config["time_cond_proj_dim"]
    if "addition_embed_type" in config:
        numbers = config["projection_class_embeddings_input_dim"]
        yield from layer_sizes("add_embedding.linear_1", embedding, numbers)
        yield from layer_sizes("add_embedding.linear_2", embedding, embedding)
    current = channels[0]
    for level, size in enumerate(channels):
        block = f"down_blocks.{level}"
        for layer in range(_layers(config, level)):
            yield from resnet_sizes(f"{block}.resnets.{layer}", current, size, embedding)
            if config["down_block_types"][level].startswith("CrossAttn"):
                depth = _depth(config, level, layer)
                yield from _attention(f"{block}.attentions.{layer}", size, depth, width)
            current = size
        if level < len(channels) - 1:
            yield from layer_sizes(f"{block}.downsamplers.0.conv", size, size * KERNEL)
    yield from resnet_sizes("mid_block.resnets.0", current, current, embedding)
    if "CrossAttn" in config["mid_block_type"]:
        yield from _attention("mid_block.attentions.0", current, _depth(config, -1, 0), width)
        yield from resnet_sizes("mid_block.resnets.1", current, current, embedding)


def skip_channels(config: Mapping[str, Any]) -> list[int]:
    """Return the channels of each output of the first half: the input's, then by level."""
    channels = config["block_out_channels"]
    skips = [channels[0]]
    for level, size in enumerate(channels):
        skips += [size] * (_layers(config, level) + (level < len(channels) - 1))
    return skips


def _layers(config: Mapping[str, Any], level: int) -> int:
    layers: int | Sequence[int] = config["layers_per_block"]
    return layers if isinstance(layers, int) else layers[level]


def _depth(config: Mapping[str, Any], level: int, layer: int) -> int:
    """Return the number of transformer blocks after a layer."""
    depths: int | Sequence[int] = config["transformer_layers_per_block"][level]
    return depths if isinstance(depths, int) else depths[layer]


def layer_sizes(name: str, outputs: int, inputs: int) -> Parameters:
    """Yield weight and bias of a linear layer, a convolution or, with one input, a norm."""
    yield f"{name}.weight", outputs * inputs
    yield f"{name}.bias", outputs


def resnet_sizes(name: str, inputs: int, outputs: int, embedding: int = 0) -> Parameters:
    yield from layer_sizes(f"{name}.norm1", inputs, 1)
    yield from layer_sizes(f"{name}.conv1", outputs, inputs * KERNEL)
    if embedding:
        yield from layer_sizes(f"{name}.time_emb_proj", outputs, embedding)
    yield from layer_sizes(f"{name}.norm2", outputs, 1)
    yield from layer_sizes(f"{name}.conv2", outputs, outputs * KERNEL)
    if inputs != outputs:
        yield from layer_sizes(f"{name}.conv_shortcut", outputs, inputs)


def _attention(name: str, size: int, depth: int, width: int) -> Parameters:
    yield from layer_sizes(f"{name}.norm", size, 1)
    yield from layer_sizes(f"{name}.proj_in", size, size)
    yield from layer_sizes(f"{name}.proj_out", size, size)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for part, context in (("attn1", size), ("attn2", width)):
            yield f"{block}.{part}.to_q.weight", size * size
            yield f"{block}.{part}.to_k.weight", size * context
            yield f"{block}.{part}.to_v.weight", size * context
            yield from layer_sizes(f"{block}.{part}.to_out.0", size, size)
        for norm in ("norm1", "norm2", "norm3"):
            yield from layer_sizes(f"{block}.{norm}", size, 1)
        yield from layer_sizes(f"{block}.ff.net.0.proj", 8 * size, size)
        yield from layer_sizes(f"{block}.ff.net.2", size, 4 * size)
