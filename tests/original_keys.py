"""Networks of diffusers and transformers under the keys of the original code, to write files.

The other way round than the reader of keys, and written apart from it.
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
    """A denoising network whose levels all have as many layers."""
    config: Any = unet.config
    layers = config.layers_per_block
    layers = layers if isinstance(layers, int) else layers[0]
    state = unet.state_dict()
    return {prefix + _unet_key(name, layers, state): value for name, value in state.items()}


def _unet_key(name: str, layers: int, state: dict[str, Tensor]) -> str:
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            return theirs + _in_resnet(name.removeprefix(ours))
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)(\..*)", name)
    assert found is not None
    way, level, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (level + 1)}.0.op{rest.removeprefix('.conv')}"
    if kind == "upsamplers":
        attends = any(key.startswith(f"up_blocks.{level}.attentions") for key in state)
        return f"output_blocks.{(layers + 1) * level + layers}.{1 + attends}{rest}"
    index = (layers + 1) * level + layer + (way == "down")
    side = "input_blocks" if way == "down" else "output_blocks"
    return f"{side}.{index}.{int(kind == 'attentions')}{_in_resnet(rest)}"


def _in_resnet(rest: str) -> str:
    for ours, theirs in RESNET.items():
        if rest.startswith(f".{ours}."):
            return f".{theirs}{rest.removeprefix(f'.{ours}')}"
    return rest


def vae_keys(vae: nn.Module, prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """An autoencoder."""
    config: Any = vae.config
    last = len(config.block_out_channels) - 1
    found: dict[str, Tensor] = {}
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
        found[prefix + key] = value[:, :, None, None] if is_matrix else value
    return found


def text_keys(
    text: nn.Module, prefix: str = "cond_stage_model.transformer.text_model."
) -> dict[str, Tensor]:
    """A text encoder in transformers' names."""
    return {
        prefix + name.removeprefix("text_model."): value
        for name, value in text.state_dict().items()
    }


def open_clip_keys(text: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A text encoder in OpenCLIP's names: queries, keys and values in one."""
    state = {name.removeprefix("text_model."): value for name, value in text.state_dict().items()}
    found = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "logit_scale": torch.tensor(4.6),
    }
    if "text_projection.weight" in state:
        found["text_projection"] = state["text_projection.weight"].T.contiguous()
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layers.")}
    for layer in layers:
        theirs, ours = f"transformer.resblocks.{layer}.", f"encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            joined = [state[f"{ours}self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{theirs}attn.in_proj_{kind}"] = torch.cat(joined)
            for mine, their in OPEN_CLIP.items():
                found[f"{theirs}{their}.{kind}"] = state[f"{ours}{mine}.{kind}"]
    return {prefix + name: value for name, value in found.items()}
