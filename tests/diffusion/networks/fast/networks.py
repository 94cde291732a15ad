"""Small networks of diffusers' classes, and the weights of them with stand-ins for the GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from latentloom.diffusion.networks import weights as weights_module
from latentloom.diffusion.networks.control import ControlWeights
from latentloom.diffusion.networks.fast import calls
from latentloom.diffusion.networks.fast.calls import Tools
from latentloom.diffusion.networks.weights import UNetWeights, VaeWeights

CONTEXT_DIM = 24
SD15: dict[str, Any] = {"attention_head_dim": 2}
SDXL: dict[str, Any] = {
    "attention_head_dim": (2, 4),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
}


def make_unet(seed: int = 0, **options: Any) -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    defaults: dict[str, Any] = {
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": CONTEXT_DIM,
        "norm_num_groups": 4,
    }
    return _jittered(UNet2DConditionModel(**(defaults | options)))


def make_control(unet: nn.Module) -> nn.Module:
    from diffusers import ControlNetModel

    options = (8, 8, 16, 16)
    return _jittered(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=options))


def make_vae() -> nn.Module:
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    return _jittered(
        AutoencoderKL(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
        )
    )


def _jittered(network: nn.Module) -> nn.Module:
    """Move all weights off the values that hide mistakes: norms of 1 and 0, convolutions of 0."""
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    return network.eval()


def use_stand_ins(monkeypatch: pytest.MonkeyPatch, tools: Tools) -> None:
    """Let networks on the CPU have fast calls."""
    monkeypatch.setattr(weights_module, "why_not_here", lambda _device: None)
    monkeypatch.setattr(calls, "gpu_tools", lambda: tools)


def unet_weights(**options: Any) -> UNetWeights:
    return UNetWeights(make_unet(**options), "unet")


def control_weights(unet: nn.Module) -> ControlWeights:
    return ControlWeights(make_control(unet), "control")


def vae_weights() -> VaeWeights:
    return VaeWeights(make_vae(), "vae")
