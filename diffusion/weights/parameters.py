"""The parameters that networks in files must have, from their configurations. No torch here.

With it, a header alone shows what loading would refuse: missing and unknown weights, and weights
of another size. Sizes are numbers of elements, because some files have other axes of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from .headers import read_tensor_infos
from .keys import StoredNetwork

Parameters = Iterator[tuple[str, int]]
Sizes = Callable[[Mapping[str, Any]], Parameters]
KERNEL = 9
TINY_WIDTH = 64


def check_parameters(path: Path, network: StoredNetwork, sizes: Sizes) -> None:
    """Check that a file has all weights of a network, and no others.

    Args:
        sizes: one of the functions below.

    Raises:
        ModelFileError: a weight is missing, unknown or of another size.
    """
    infos, expected = read_tensor_infos(path), dict(sizes(network.config))
    stored: set[str] = set()
    parts = {**{key: (name,) for key, name in network.names.items()}, **network.split}
    for key, names in parts.items():
        size = math.prod(infos[key].shape)
        for name in names:
            if name not in expected:
                raise ModelFileError(unknown_weight(path.name, key))
            if size != expected[name] * len(names):
                got = f"the shape {tuple(infos[key].shape)}"
                wanted = f"{expected[name] * len(names)} numbers"
                raise ModelFileError(f"{path.name}: {key}: expected {wanted}, got {got}")
            stored.add(name)
    check_complete(path.name, expected.keys() - stored)


def check_complete(name: str, missing: Collection[str]) -> None:
    """Check that a file has all weights of its network.

    Raises:
        ModelFileError: some are missing.
    """
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelFileError(f"{name} lacks the weights {min(missing)}{more}")


def unknown_weight(file: str, key: str) -> str:
    """Return the message on a weight that the network does not have."""
    is_scale = key.endswith(("scale_weight", "scale_input", "weight_scale", "input_scale"))
    scaled = "; scaled fp8 is not supported: use a file in fp16 or plain fp8" if is_scale else ""
    return f"{file}: {key} is not a weight of its network{scaled}"


def unet_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a denoising network."""
    yield from _encoder_sizes(config)
    channels, width = config["block_out_channels"], config["cross_attention_dim"]
    first, current, last = channels[0], channels[-1], len(channels) - 1
    skips = _skips(config)
    depths = config["reverse_transformer_layers_per_block"]
    for level, size in enumerate(reversed(channels)):
        block = f"up_blocks.{level}"
        for layer in range(_layers(config, last - level) + 1):
            yield from _resnet(f"{block}.resnets.{layer}", current + skips.pop(), size, 4 * first)
            if config["up_block_types"][level].startswith("CrossAttn"):
                depth = depths[level][layer]
                yield from _attention(f"{block}.attentions.{layer}", size, depth, width)
            current = size
        if level < last:
            yield from _layer(f"{block}.upsamplers.0.conv", size, size * KERNEL)
    yield from _layer("conv_norm_out", first, 1)
    yield from _layer("conv_out", config["out_channels"], first * KERNEL)


def control_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a ControlNet that is not a union."""
    yield from _encoder_sizes(config)
    hint, sizes = "controlnet_cond_embedding", config["conditioning_embedding_out_channels"]
    first, last = config["block_out_channels"][0], config["block_out_channels"][-1]
    yield from _layer(f"{hint}.conv_in", sizes[0], config["conditioning_channels"] * KERNEL)
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        yield from _layer(f"{hint}.blocks.{2 * index}", inputs, inputs * KERNEL)
        yield from _layer(f"{hint}.blocks.{2 * index + 1}", outputs, inputs * KERNEL)
    yield from _layer(f"{hint}.conv_out", first, sizes[-1] * KERNEL)
    for index, size in enumerate(_skips(config)):
        yield from _layer(f"controlnet_down_blocks.{index}", size, size)
    yield from _layer("controlnet_mid_block", last, last)


def union_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a union ControlNet."""
    yield from control_sizes({"mid_block_type": "UNetMidBlock2DCrossAttn", **config})
    kinds, width = config["num_control_type"], config["num_trans_channel"]
    yield "task_embedding", kinds * width
    for number in range(config["num_trans_layer"]):
        block = f"transformer_layes.{number}"
        yield f"{block}.attn.in_proj_weight", 3 * width * width
        yield f"{block}.attn.in_proj_bias", 3 * width
        yield from _layer(f"{block}.attn.out_proj", width, width)
        yield from _layer(f"{block}.ln_1", width, 1)
        yield from _layer(f"{block}.mlp.c_fc", 4 * width, width)
        yield from _layer(f"{block}.mlp.c_proj", width, 4 * width)
        yield from _layer(f"{block}.ln_2", width, 1)
    yield from _layer("spatial_ch_projs", config["num_proj_channel"], width)
    embedding = 4 * config["block_out_channels"][0]
    numbers = kinds * config["addition_time_embed_dim"]
    yield from _layer("control_add_embedding.linear_1", embedding, numbers)
    yield from _layer("control_add_embedding.linear_2", embedding, embedding)


def _encoder_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the parameters of a denoising network's first half, which ControlNets copy."""
    channels, width = config["block_out_channels"], config["cross_attention_dim"]
    embedding = 4 * channels[0]
    yield from _layer("conv_in", channels[0], config["in_channels"] * KERNEL)
    yield from _layer("time_embedding.linear_1", embedding, channels[0])
    yield from _layer("time_embedding.linear_2", embedding, embedding)
    if "time_cond_proj_dim" in config:
        yield "time_embedding.cond_proj.weight", channels[0] * config["time_cond_proj_dim"]
    if "addition_embed_type" in config:
        numbers = config["projection_class_embeddings_input_dim"]
        yield from _layer("add_embedding.linear_1", embedding, numbers)
        yield from _layer("add_embedding.linear_2", embedding, embedding)
    current = channels[0]
    for level, size in enumerate(channels):
        block = f"down_blocks.{level}"
        for layer in range(_layers(config, level)):
            yield from _resnet(f"{block}.resnets.{layer}", current, size, embedding)
            if config["down_block_types"][level].startswith("CrossAttn"):
                depth = _depth(config, level, layer)
                yield from _attention(f"{block}.attentions.{layer}", size, depth, width)
            current = size
        if level < len(channels) - 1:
            yield from _layer(f"{block}.downsamplers.0.conv", size, size * KERNEL)
    yield from _resnet("mid_block.resnets.0", current, current, embedding)
    if "CrossAttn" in config["mid_block_type"]:
        yield from _attention("mid_block.attentions.0", current, _depth(config, -1, 0), width)
        yield from _resnet("mid_block.resnets.1", current, current, embedding)


def _skips(config: Mapping[str, Any]) -> list[int]:
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


def vae_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of an autoencoder."""
    channels, latent = config["block_out_channels"], config["latent_channels"]
    layers, last = config["layers_per_block"], channels[-1]
    yield from _layer("encoder.conv_in", channels[0], 3 * KERNEL)
    yield from _levels("encoder.down_blocks", "downsamplers", channels[0], channels, layers)
    yield from _middle("encoder", last)
    yield from _layer("encoder.conv_norm_out", last, 1)
    yield from _layer("encoder.conv_out", 2 * latent, last * KERNEL)
    yield from _layer("decoder.conv_in", last, latent * KERNEL)
    yield from _middle("decoder", last)
    yield from _levels("decoder.up_blocks", "upsamplers", last, channels[::-1], layers + 1)
    yield from _layer("decoder.conv_norm_out", channels[0], 1)
    yield from _layer("decoder.conv_out", 3, channels[0] * KERNEL)
    if config["use_quant_conv"]:
        yield from _layer("quant_conv", 2 * latent, 2 * latent)
    if config["use_post_quant_conv"]:
        yield from _layer("post_quant_conv", latent, latent)


def text_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a CLIP text encoder without its projection."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "embeddings.token_embedding.weight", config["vocab_size"] * width
    yield "embeddings.position_embedding.weight", config["max_position_embeddings"] * width
    yield from _transformer("encoder.layers", width, inner, config["num_hidden_layers"])
    yield from _layer("final_layer_norm", width, 1)


def projected_text_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a CLIP text encoder with its projection."""
    yield from text_sizes(config)
    yield "text_projection.weight", config["hidden_size"] * config["projection_dim"]


def vision_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a CLIP image encoder with its projection."""
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    positions = (config["image_size"] // patch) ** 2 + 1
    yield "vision_model.embeddings.class_embedding", width
    yield "vision_model.embeddings.patch_embedding.weight", width * 3 * patch**2
    yield "vision_model.embeddings.position_embedding.weight", positions * width
    yield from _layer("vision_model.pre_layrnorm", width, 1)
    layers = config["num_hidden_layers"]
    yield from _transformer("vision_model.encoder.layers", width, inner, layers)
    yield from _layer("vision_model.post_layernorm", width, 1)
    yield "visual_projection.weight", config["projection_dim"] * width


def tiny_encoder_sizes(_config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of TAESD's encoder, numbered as in diffusers."""
    yield from _layer("0", TINY_WIDTH, 3 * KERNEL)
    yield from _tiny_block(1)
    for first in (2, 6, 10):
        yield f"{first}.weight", TINY_WIDTH * TINY_WIDTH * KERNEL
        for block in (1, 2, 3):
            yield from _tiny_block(first + block)
    yield from _layer("14", 4, TINY_WIDTH * KERNEL)


def tiny_decoder_sizes(_config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of TAESD's decoder, numbered as in diffusers."""
    yield from _layer("0", TINY_WIDTH, 4 * KERNEL)
    for first in (2, 7, 12):
        for block in (0, 1, 2):
            yield from _tiny_block(first + block)
        yield f"{first + 4}.weight", TINY_WIDTH * TINY_WIDTH * KERNEL
    yield from _tiny_block(17)
    yield from _layer("18", 3, TINY_WIDTH * KERNEL)


def _tiny_block(number: int) -> Parameters:
    for layer in (0, 2, 4):
        yield from _layer(f"{number}.conv.{layer}", TINY_WIDTH, TINY_WIDTH * KERNEL)


def rrdb_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of an ESRGAN network."""
    features, growth = config["features"], config["growth"]
    yield from _layer("conv_first", features, 3 * config["unshuffle"] ** 2 * KERNEL)
    for block in range(config["blocks"]):
        for dense in (1, 2, 3):
            for index in range(1, 6):
                outputs = growth if index < 5 else features
                inputs = (features + (index - 1) * growth) * KERNEL
                yield from _layer(f"body.{block}.rdb{dense}.conv{index}", outputs, inputs)
    for name in ("conv_body", *(f"conv_up.{up}" for up in range(config["ups"])), "conv_hr"):
        yield from _layer(name, features, features * KERNEL)
    yield from _layer("conv_last", 3, features * KERNEL)


def compact_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a compact upscaling network."""
    features, last = config["features"], 2 * config["layers"] + 2
    for index in range(0, last, 2):
        yield from _layer(f"body.{index}", features, (features if index else 3) * KERNEL)
        yield f"body.{index + 1}.weight", features
    yield from _layer(f"body.{last}", 3 * config["scale"] ** 2, features * KERNEL)


def _transformer(name: str, width: int, inner: int, layers: int) -> Parameters:
    """Yield the parameters of CLIP's layers; `inner` is the width within their networks."""
    for number in range(layers):
        layer = f"{name}.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{part}", width, width)
        yield from _layer(f"{layer}.layer_norm1", width, 1)
        yield from _layer(f"{layer}.mlp.fc1", inner, width)
        yield from _layer(f"{layer}.mlp.fc2", width, inner)
        yield from _layer(f"{layer}.layer_norm2", width, 1)


def _layer(name: str, outputs: int, inputs: int) -> Parameters:
    """Yield weight and bias of a linear layer, a convolution or, with one input, a norm."""
    yield f"{name}.weight", outputs * inputs
    yield f"{name}.bias", outputs


def _resnet(name: str, inputs: int, outputs: int, embedding: int = 0) -> Parameters:
    yield from _layer(f"{name}.norm1", inputs, 1)
    yield from _layer(f"{name}.conv1", outputs, inputs * KERNEL)
    if embedding:
        yield from _layer(f"{name}.time_emb_proj", outputs, embedding)
    yield from _layer(f"{name}.norm2", outputs, 1)
    yield from _layer(f"{name}.conv2", outputs, outputs * KERNEL)
    if inputs != outputs:
        yield from _layer(f"{name}.conv_shortcut", outputs, inputs)


def _attention(name: str, size: int, depth: int, width: int) -> Parameters:
    yield from _layer(f"{name}.norm", size, 1)
    yield from _layer(f"{name}.proj_in", size, size)
    yield from _layer(f"{name}.proj_out", size, size)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for part, context in (("attn1", size), ("attn2", width)):
            yield f"{block}.{part}.to_q.weight", size * size
            yield f"{block}.{part}.to_k.weight", size * context
            yield f"{block}.{part}.to_v.weight", size * context
            yield from _layer(f"{block}.{part}.to_out.0", size, size)
        for norm in ("norm1", "norm2", "norm3"):
            yield from _layer(f"{block}.{norm}", size, 1)
        yield from _layer(f"{block}.ff.net.0.proj", 8 * size, size)
        yield from _layer(f"{block}.ff.net.2", size, 4 * size)


def _levels(
    blocks: str, resizer: str, current: int, channels: tuple[int, ...], layers: int
) -> Parameters:
    """Yield the parameters of an autoencoder's levels; all but the last change the size."""
    for level, size in enumerate(channels):
        for layer in range(layers):
            yield from _resnet(f"{blocks}.{level}.resnets.{layer}", current, size)
            current = size
        if level < len(channels) - 1:
            yield from _layer(f"{blocks}.{level}.{resizer}.0.conv", size, size * KERNEL)


def _middle(half: str, size: int) -> Parameters:
    yield from _resnet(f"{half}.mid_block.resnets.0", size, size)
    yield from _layer(f"{half}.mid_block.attentions.0.group_norm", size, 1)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from _layer(f"{half}.mid_block.attentions.0.{name}", size, size)
    yield from _resnet(f"{half}.mid_block.resnets.1", size, size)
