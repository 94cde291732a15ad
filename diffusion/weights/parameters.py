"""The parameters that networks in files must have, from their configurations. No torch here.

With it, a header alone shows what loading would refuse: missing and unknown weights, and weights
of another size. Sizes are numbers of elements, because some files have other axes of length 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..families.stored import Parameters, ParameterSizes, StoredNetwork
from ..families.unet_sizes import (
    KERNEL,
    encoder_sizes,
    layer_sizes,
    resnet_sizes,
    skip_channels,
)
from .headers import read_tensor_infos

TINY_WIDTH = 64


def check_parameters(path: Path, network: StoredNetwork, sizes: ParameterSizes) -> None:
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
        if not expected.keys() >= {*names}:
            raise ModelFileError(unknown_weight(path.name, key))
        size = sum(expected[name] for name in names)
        if math.prod(infos[key].shape) != size:
            got = f"the shape {tuple(infos[key].shape)}"
            raise ModelFileError(f"{path.name}: {key}: expected {size} numbers, got {got}")
        stored.update(names)
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


def control_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a ControlNet that is not a union."""
    yield from encoder_sizes(config)
    hint, sizes = "controlnet_cond_embedding", config["conditioning_embedding_out_channels"]
    first, last = config["block_out_channels"][0], config["block_out_channels"][-1]
    yield from layer_sizes(f"{hint}.conv_in", sizes[0], config["conditioning_channels"] * KERNEL)
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        yield from layer_sizes(f"{hint}.blocks.{2 * index}", inputs, inputs * KERNEL)
        yield from layer_sizes(f"{hint}.blocks.{2 * index + 1}", outputs, inputs * KERNEL)
    yield from layer_sizes(f"{hint}.conv_out", first, sizes[-1] * KERNEL)
    for index, size in enumerate(skip_channels(config)):
        yield from layer_sizes(f"controlnet_down_blocks.{index}", size, size)
    yield from layer_sizes("controlnet_mid_block", last, last)


def union_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a union ControlNet."""
    yield from control_sizes({"mid_block_type": "UNetMidBlock2DCrossAttn", **config})
    kinds, width = config["num_control_type"], config["num_trans_channel"]
    yield "task_embedding", kinds * width
    for number in range(config["num_trans_layer"]):
        block = f"transformer_layes.{number}"
        yield f"{block}.attn.in_proj_weight", 3 * width * width
        yield f"{block}.attn.in_proj_bias", 3 * width
        yield from layer_sizes(f"{block}.attn.out_proj", width, width)
        yield from layer_sizes(f"{block}.ln_1", width, 1)
        yield from layer_sizes(f"{block}.mlp.c_fc", 4 * width, width)
        yield from layer_sizes(f"{block}.mlp.c_proj", width, 4 * width)
        yield from layer_sizes(f"{block}.ln_2", width, 1)
    yield from layer_sizes("spatial_ch_projs", config["num_proj_channel"], width)
    embedding = 4 * config["block_out_channels"][0]
    numbers = kinds * config["addition_time_embed_dim"]
    yield from layer_sizes("control_add_embedding.linear_1", embedding, numbers)
    yield from layer_sizes("control_add_embedding.linear_2", embedding, embedding)


def vae_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of an autoencoder."""
    channels, latent = config["block_out_channels"], config["latent_channels"]
    layers, last = config["layers_per_block"], channels[-1]
    yield from layer_sizes("encoder.conv_in", channels[0], 3 * KERNEL)
    yield from _levels("encoder.down_blocks", "downsamplers", channels[0], channels, layers)
    yield from _middle("encoder", last)
    yield from layer_sizes("encoder.conv_norm_out", last, 1)
    yield from layer_sizes("encoder.conv_out", 2 * latent, last * KERNEL)
    yield from layer_sizes("decoder.conv_in", last, latent * KERNEL)
    yield from _middle("decoder", last)
    yield from _levels("decoder.up_blocks", "upsamplers", last, channels[::-1], layers + 1)
    yield from layer_sizes("decoder.conv_norm_out", channels[0], 1)
    yield from layer_sizes("decoder.conv_out", 3, channels[0] * KERNEL)
    if config["use_quant_conv"]:
        yield from layer_sizes("quant_conv", 2 * latent, 2 * latent)
    if config["use_post_quant_conv"]:
        yield from layer_sizes("post_quant_conv", latent, latent)


def text_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a CLIP text encoder without its projection."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield "embeddings.token_embedding.weight", config["vocab_size"] * width
    yield "embeddings.position_embedding.weight", config["max_position_embeddings"] * width
    yield from _transformer("encoder.layers", width, inner, config["num_hidden_layers"])
    yield from layer_sizes("final_layer_norm", width, 1)


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
    yield from layer_sizes("vision_model.pre_layrnorm", width, 1)
    layers = config["num_hidden_layers"]
    yield from _transformer("vision_model.encoder.layers", width, inner, layers)
    yield from layer_sizes("vision_model.post_layernorm", width, 1)
    yield "visual_projection.weight", config["projection_dim"] * width


def siglip_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a SigLIP image encoder."""
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    yield from layer_sizes("embeddings.patch_embedding", width, 3 * patch**2)
    positions = (config["image_size"] // patch) ** 2
    yield "embeddings.position_embedding.weight", positions * width
    yield from _transformer("encoder.layers", width, inner, config["num_hidden_layers"])
    yield from layer_sizes("post_layernorm", width, 1)
    if config["vision_use_head"]:
        yield "head.probe", width
        yield "head.attention.in_proj_weight", 3 * width * width
        yield "head.attention.in_proj_bias", 3 * width
        yield from layer_sizes("head.attention.out_proj", width, width)
        yield from layer_sizes("head.layernorm", width, 1)
        yield from layer_sizes("head.mlp.fc1", inner, width)
        yield from layer_sizes("head.mlp.fc2", width, inner)


def tiny_encoder_sizes(_config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of TAESD's encoder, numbered as in diffusers."""
    yield from layer_sizes("0", TINY_WIDTH, 3 * KERNEL)
    yield from _tiny_block(1)
    for first in (2, 6, 10):
        yield f"{first}.weight", TINY_WIDTH * TINY_WIDTH * KERNEL
        for block in (1, 2, 3):
            yield from _tiny_block(first + block)
    yield from layer_sizes("14", 4, TINY_WIDTH * KERNEL)


def tiny_decoder_sizes(_config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of TAESD's decoder, numbered as in diffusers."""
    yield from layer_sizes("0", TINY_WIDTH, 4 * KERNEL)
    for first in (2, 7, 12):
        for block in (0, 1, 2):
            yield from _tiny_block(first + block)
        yield f"{first + 4}.weight", TINY_WIDTH * TINY_WIDTH * KERNEL
    yield from _tiny_block(17)
    yield from layer_sizes("18", 3, TINY_WIDTH * KERNEL)


def _tiny_block(number: int) -> Parameters:
    for layer in (0, 2, 4):
        yield from layer_sizes(f"{number}.conv.{layer}", TINY_WIDTH, TINY_WIDTH * KERNEL)


def rrdb_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of an ESRGAN network."""
    features, growth = config["features"], config["growth"]
    yield from layer_sizes("conv_first", features, 3 * config["unshuffle"] ** 2 * KERNEL)
    for block in range(config["blocks"]):
        for dense in (1, 2, 3):
            for index in range(1, 6):
                outputs = growth if index < 5 else features
                inputs = (features + (index - 1) * growth) * KERNEL
                yield from layer_sizes(f"body.{block}.rdb{dense}.conv{index}", outputs, inputs)
    for name in ("conv_body", *(f"conv_up.{up}" for up in range(config["ups"])), "conv_hr"):
        yield from layer_sizes(name, features, features * KERNEL)
    yield from layer_sizes("conv_last", 3, features * KERNEL)


def compact_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a compact upscaling network."""
    features, last = config["features"], 2 * config["layers"] + 2
    for index in range(0, last, 2):
        yield from layer_sizes(f"body.{index}", features, (features if index else 3) * KERNEL)
        yield f"body.{index + 1}.weight", features
    yield from layer_sizes(f"body.{last}", 3 * config["scale"] ** 2, features * KERNEL)


def _transformer(name: str, width: int, inner: int, layers: int) -> Parameters:
    """Yield the parameters of CLIP's layers; `inner` is the width within their networks."""
    for number in range(layers):
        layer = f"{name}.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from layer_sizes(f"{layer}.self_attn.{part}", width, width)
        yield from layer_sizes(f"{layer}.layer_norm1", width, 1)
        yield from layer_sizes(f"{layer}.mlp.fc1", inner, width)
        yield from layer_sizes(f"{layer}.mlp.fc2", width, inner)
        yield from layer_sizes(f"{layer}.layer_norm2", width, 1)


def _levels(
    blocks: str, resizer: str, current: int, channels: tuple[int, ...], layers: int
) -> Parameters:
    """Yield the parameters of an autoencoder's levels; all but the last change the size."""
    for level, size in enumerate(channels):
        for layer in range(layers):
            yield from resnet_sizes(f"{blocks}.{level}.resnets.{layer}", current, size)
            current = size
        if level < len(channels) - 1:
            yield from layer_sizes(f"{blocks}.{level}.{resizer}.0.conv", size, size * KERNEL)


def _middle(half: str, size: int) -> Parameters:
    yield from resnet_sizes(f"{half}.mid_block.resnets.0", size, size)
    yield from layer_sizes(f"{half}.mid_block.attentions.0.group_norm", size, 1)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from layer_sizes(f"{half}.mid_block.attentions.0.{name}", size, size)
    yield from resnet_sizes(f"{half}.mid_block.resnets.1", size, size)
