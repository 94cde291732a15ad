"""Model folders of the real classes with random weights, small enough to load in a moment."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

START, END = "<|startoftext|>", "<|endoftext|>"
TEXT_DIM, LAYERS = 32, 3


def write_tiny_model(
    folder: Path, seed: int = 0, text_dim: int = TEXT_DIM, in_channels: int = 4
) -> Path:
    """Write a diffusers folder; `text_dim` selects the family, 9 channels are for inpainting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=in_channels,
            layers_per_block=1,
            block_out_channels=(32, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=text_dim,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8,) * 4,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=64,
        )
        size = write_tokenizer(folder / "tokenizer")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=size,
                hidden_size=text_dim,
                intermediate_size=2 * text_dim,
                num_hidden_layers=LAYERS,
                num_attention_heads=4,
                bos_token_id=size - 2,
                eos_token_id=size - 1,
                pad_token_id=size - 1,
            )
        )
        for name, module in (("unet", unet), ("vae", vae), ("text_encoder", text)):
            _randomize(module)
            module.save_pretrained(folder / name)
    _write(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    _write(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    return folder


def write_tiny_sdxl(folder: Path, seed: int = 0, refiner: bool = False) -> Path:
    """Write a diffusers folder like SDXL's, or like its refiner's, with one text encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

        torch.manual_seed(seed)
        widths = (32, 64)
        text_dim = widths[1] if refiner else sum(widths)
        unet = UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            cross_attention_dim=text_dim,
            attention_head_dim=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=widths[1] + 256 * (5 if refiner else 6),
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32,) * 4,
            latent_channels=4,
            sample_size=64,
            scaling_factor=0.13025,
        )
        modules: dict[str, Any] = {"unet": unet, "vae": vae}
        encoders: tuple[tuple[int, str, Any], ...] = (
            (widths[0], "", CLIPTextModel),
            (widths[1], "_2", CLIPTextModelWithProjection),
        )
        for width, suffix, kind in encoders[refiner:]:
            size = write_tokenizer(folder / f"tokenizer{suffix}", pad="!" if suffix else END)
            config = CLIPTextConfig(
                vocab_size=size,
                hidden_size=width,
                intermediate_size=2 * width,
                num_hidden_layers=LAYERS,
                num_attention_heads=1,
                projection_dim=width,
                hidden_act="gelu" if suffix else "quick_gelu",
                bos_token_id=size - 2,
                eos_token_id=size - 1,
                pad_token_id=0 if suffix else size - 1,
            )
            modules[f"text_encoder{suffix}"] = kind(config)
        for name, module in modules.items():
            _randomize(module)
            module.save_pretrained(folder / name)
    _write(folder / "scheduler" / "scheduler_config.json", {"prediction_type": "epsilon"})
    _write(folder / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    return folder


def write_tiny_control(
    folder: Path, seed: int = 1, text_dim: int = TEXT_DIM, union: bool = False
) -> Path:
    """Write a ControlNet for the tiny model in the diffusers layout.

    Args:
        union: write one for six kinds of images.
    """
    from diffusers import ControlNetModel, ControlNetUnionModel

    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "cross_attention_dim": text_dim,
        "conditioning_embedding_out_channels": (4, 8, 8, 16),
    }
    kinds = {"num_trans_channel": 32, "num_proj_channel": 32, "addition_time_embed_dim": 16}
    net = ControlNetUnionModel(**shape, **kinds) if union else ControlNetModel(**shape)
    _randomize(net)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.data.normal_(0.0, 0.3 / parameter[0].numel() ** 0.5)
    net.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, pad: str = END) -> int:
    """Write a CLIP tokenizer of single bytes and return the size of its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(code) for code in plain] + [
        chr(256 + index) for index in range(256 - len(plain))
    ]
    words = [*letters, *(f"{letter}</w>" for letter in letters), START, END]
    _write(folder / "vocab.json", {word: index for index, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": pad,
        },
    )
    return len(words)


def _randomize(module: torch.nn.Module) -> None:
    """Set random biases and norms, so that no path through the network is trivial."""
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.data.normal_(offset, 0.1)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
