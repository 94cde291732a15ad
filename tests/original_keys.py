"""Weights of diffusers' and transformers' networks under the original code's keys.

The inverse of the readers of keys, and written independently of them.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_keys(unet: nn.Module, prefix: str = "model.diffusion_model.") -> dict[str, Tensor]:
    """Return the weights of a denoising network with the same number of layers at every level."""
    config: Any = unet.config
    layers = config.layers_per_block
    layers = layers if isinstance(layers, int) else layers[0]
    state = unet.state_dict()
    return {prefix + _unet_key(name, layers, state): value for name, value in state.items()}


def _unet_key(name: str, layers: int, state: dict[str, Tensor]) -> str:
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            return theirs + _resnet_key(name.removeprefix(ours))
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)(\..*)", name)
    assert match is not None
    direction, kind, rest = match[1], match[3], match[5]
    level, layer = int(match[2]), int(match[4])
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (level + 1)}.0.op{rest.removeprefix('.conv')}"
    if kind == "upsamplers":
        has_attention = any(key.startswith(f"up_blocks.{level}.attentions") for key in state)
        return f"output_blocks.{(layers + 1) * level + layers}.{1 + has_attention}{rest}"
    index = (layers + 1) * level + layer + (direction == "down")
    blocks = "input_blocks" if direction == "down" else "output_blocks"
    return f"{blocks}.{index}.{int(kind == 'attentions')}{_resnet_key(rest)}"


def _resnet_key(rest: str) -> str:
    for ours, theirs in RESNET.items():
        if rest.startswith(f".{ours}."):
            return f".{theirs}{rest.removeprefix(f'.{ours}')}"
    return rest


def vae_keys(vae: nn.Module, prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """Return the weights of an autoencoder."""
    config: Any = vae.config
    last = len(config.block_out_channels) - 1
    weights: dict[str, Tensor] = {}
    for name, value in vae.state_dict().items():
        key = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        key = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
        key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{last - int(m[1])}.block", key)
        key = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", key
        )
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        for ours, theirs in ATTENTION.items():
            key = key.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
        is_matrix = ".attn_1." in key and value.ndim == 2
        weights[prefix + key] = value[:, :, None, None] if is_matrix else value
    return weights


def text_keys(
    text: nn.Module, prefix: str = "cond_stage_model.transformer.text_model."
) -> dict[str, Tensor]:
    """Return the weights of a text encoder under transformers' names."""
    return {
        prefix + name.removeprefix("text_model."): value
        for name, value in text.state_dict().items()
    }


def open_clip_keys(text: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return the weights of a text encoder under OpenCLIP's names, with joined attention."""
    state = {name.removeprefix("text_model."): value for name, value in text.state_dict().items()}
    weights = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    if "text_projection.weight" in state:
        weights["text_projection"] = state["text_projection.weight"].T.contiguous()
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    for layer in layers:
        theirs, ours = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            joined = [state[f"{ours}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            weights[f"{theirs}attn.in_proj_{kind}"] = torch.cat(joined)
            for our_module, their_module in OPEN_CLIP.items():
                weights[f"{theirs}{their_module}.{kind}"] = state[f"{ours}{our_module}.{kind}"]
    return {prefix + name: value for name, value in weights.items()}
