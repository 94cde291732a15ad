"""Networks and devices that the fast forwards support; why others are not supported."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .setting import why_not_set

# Triton's kernels run from this compute capability on.
MIN_CAPABILITY = (8, 0)
CONTEXT_FREE = (None, "text_time")


def why_not_here(device: torch.device) -> str | None:
    """Say why networks on a device run without the fast forwards; None if they can."""
    if device.type != "cuda" or torch.version.cuda is None:
        return "no NVIDIA GPU"
    if torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return "the GPU is older than compute capability 8.0"
    return why_not_set()


def why_not_network(network: Any) -> str | None:
    """Say why a network has no fast forwards; None if it has."""
    kind = type(network).__name__
    if kind not in ("UNet2DConditionModel", "ControlNetModel", "AutoencoderKL"):
        return f"{kind} has no fast forward"
    if kind != "AutoencoderKL" and not _is_plain_unet(network):
        return "its conditioning is of another kind"
    if not all(map(_is_known, network.modules())):
        return "its layers are of another kind"
    return None


def why_hooked(network: nn.Module) -> str | None:
    """Say that somebody's hooks must see each call of the network; None without hooks."""
    hooked = (layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())
    return "hooks on its layers" if any(hooked) else None


def _is_plain_unet(network: Any) -> bool:
    """Return True if the context goes to cross-attention alone, in layers that are known."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    attentions = {id(layer) for layer in network.modules() if isinstance(layer, Attention)}
    inside = {
        id(layer)
        for model in network.modules()
        if isinstance(model, Transformer2DModel)
        for layer in model.modules()
    }
    config: Any = network.config
    return (
        attentions <= inside
        and config["addition_embed_type"] in CONTEXT_FREE
        and config.get("encoder_hid_dim_type") is None
    )


def _is_known(layer: Any) -> bool:
    kind = type(layer).__name__
    if kind == "ResnetBlock2D":
        return _is_known_residual(layer)
    if kind == "Transformer2DModel":
        return bool(layer.is_input_continuous)
    if kind == "BasicTransformerBlock":
        return _is_known_transformer(layer)
    return not isinstance(layer, nn.Dropout) or not layer.training


def _is_known_residual(block: Any) -> bool:
    return (
        block.output_scale_factor == 1.0
        and block.upsample is None
        and block.downsample is None
        and (block.time_emb_proj is None or block.time_embedding_norm == "default")
        and not block.skip_time_act
        and isinstance(block.nonlinearity, nn.SiLU)
    )


def _is_known_transformer(block: Any) -> bool:
    return (
        block.norm_type == "layer_norm"
        and block.attn2 is not None
        and block.attn2.is_cross_attention
        and not block.attn1.is_cross_attention
        and block.pos_embed is None
        and block._chunk_size is None
        and type(block.ff.net[0]).__name__ == "GEGLU"
        and all(norm.bias is not None for norm in (block.norm1, block.norm2, block.norm3))
        and all(map(_is_known_attention, (block.attn1, block.attn2)))
    )


def _is_known_attention(layer: Any) -> bool:
    extras = (
        layer.group_norm, layer.spatial_norm, layer.norm_cross, layer.norm_q, layer.norm_k,
        layer.to_q.bias, layer.to_k.bias, layer.to_v.bias, layer.added_kv_proj_dim,
    )  # fmt: skip
    return (
        all(extra is None for extra in extras)
        and layer.scale_qk
        and not layer.residual_connection
        and layer.rescale_output_factor == 1.0
        and type(layer.processor).__name__ == "AttnProcessor2_0"
    )
