"""Random networks of the true shapes, in our handles and for diffusers' pipelines."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry
from latentloom.diffusion.families.family import Family
from latentloom.diffusion.families.sd15 import SD15
from latentloom.diffusion.families.sdxl import SDXL
from latentloom.diffusion.networks.control import ControlNet, ControlWeights
from latentloom.diffusion.networks.handles import Model, Vae
from latentloom.diffusion.networks.load import make_sampling
from latentloom.diffusion.networks.weights import UNetWeights, VaeWeights

SEED = 1
CONTROL_GAIN = 0.1
UNETS: dict[str, dict[str, Any]] = {
    "mini": {
        "block_out_channels": (64, 128),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 768,
    },
    "sd15": {"cross_attention_dim": 768},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
VAE_CHANNELS = {
    "mini": (32, 32, 64, 64),
    "sd15": (128, 256, 512, 512),
    "sdxl": (128, 256, 512, 512),
}
Task = Literal["", "Img2Img"]


class Modules(NamedTuple):
    """A family's networks."""

    unet: Any
    vae: Any
    control: Any


class Handles(NamedTuple):
    """Our handles on a family's networks."""

    family: Family
    model: Model
    vae: Vae
    control: ControlNet


def make_modules(
    name: str, device: torch.device, dtype: torch.dtype, vae_dtype: torch.dtype | None = None
) -> Modules:
    """Make a family's networks with random weights, which do not overflow in float16.

    Args:
        vae_dtype: of the autoencoder, if it differs.
    """
    with quiet(), device:
        import diffusers

        torch.manual_seed(SEED)
        unet = diffusers.UNet2DConditionModel(sample_size=64, **UNETS[name])
        vae = diffusers.AutoencoderKL(
            block_out_channels=VAE_CHANNELS[name],
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1 if name == "mini" else 2,
            latent_channels=4,
        )
        control = diffusers.ControlNetModel.from_unet(unet)
        for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
            nn.init.normal_(layer.weight, std=CONTROL_GAIN * layer.in_channels**-0.5)
    modules = Modules(unet, vae, control)
    with quiet():
        for module in modules:
            module.to(device, dtype).eval().requires_grad_(False)
        vae.to(vae_dtype or dtype)
    return modules


def copy_modules(modules: Modules) -> Modules:
    """Return copies of networks, which share nothing with them."""
    return Modules(*(copy.deepcopy(module) for module in modules))


def make_text_encoder(layers: int) -> nn.Module:
    """Return CLIP-L with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=layers,
        num_attention_heads=12,
    )
    module: nn.Module = CLIPTextModel(config).eval()
    return module


def make_handles(name: str, modules: Modules, device: torch.device) -> Handles:
    """Return our handles on networks."""
    family = SDXL if name == "sdxl" else SD15
    model = Model(UNetWeights(modules.unet, "bench", device), family, make_sampling(family))
    vae = Vae(VaeWeights(modules.vae, "bench", device), family)
    control = ControlNet(ControlWeights(modules.control, "bench", device), family)
    return Handles(family, model, vae, control)


def make_pipeline(name: str, modules: Modules, task: Task, controlled: bool) -> Any:
    """Return diffusers' pipeline without text encoders, with the Euler method as we have it."""
    import diffusers

    kind = "StableDiffusionXL" if name == "sdxl" else "StableDiffusion"
    parts: dict[str, Any] = {"unet": modules.unet, "vae": modules.vae, "tokenizer": None}
    parts |= {"text_encoder": None}
    if name == "sdxl":
        parts |= {"text_encoder_2": None, "tokenizer_2": None}
    else:
        parts |= {"safety_checker": None, "feature_extractor": None}
        parts["requires_safety_checker"] = False
    if controlled:
        parts["controlnet"] = modules.control
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="linspace",
    )
    with quiet():
        pipeline_type = getattr(
            diffusers, f"{kind}{'ControlNet' if controlled else ''}{task}Pipeline"
        )
        pipe = pipeline_type(**parts, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_prompt(family: Family, seed: int) -> Conditioning:
    """Return a random encoding of a prompt."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, 77, family.text_dim, generator=generator)
    return (PromptEntry(tokens, torch.randn(1, 1280, generator=generator)),)


def prompt_arguments(
    name: str,
    positive: Conditioning,
    negative: Conditioning,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Return a pipeline's arguments for the encodings of two prompts."""
    tensors: dict[str, Tensor | None] = {
        "prompt_embeds": positive[0].tokens,
        "negative_prompt_embeds": negative[0].tokens,
    }
    if name == "sdxl":
        tensors["pooled_prompt_embeds"] = positive[0].pooled
        tensors["negative_pooled_prompt_embeds"] = negative[0].pooled
    return {key: value.to(device, dtype) for key, value in tensors.items() if value is not None}


@contextmanager
def quiet() -> Iterator[None]:
    """Enter a context without the warnings, logged or not, that libraries give of their code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def synchronize(device: torch.device) -> None:
    """Wait until a device has computed everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
