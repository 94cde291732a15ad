"""Check and run agree on a header: weights that are missing, unknown or misshapen."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.stored import ParameterSizes
from latentloom.diffusion.families.tensor_info import TensorInfo
from latentloom.diffusion.families.unet import find_unet
from latentloom.diffusion.families.unet_sizes import unet_sizes
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.diffusion.text.clip_files import check_clip_files
from latentloom.diffusion.weights.control_file import check_control, read_control_network
from latentloom.diffusion.weights.detect import (
    check_checkpoint,
    check_unet_file,
    check_vae,
)
from latentloom.diffusion.weights.parameters import (
    control_sizes,
    projected_text_sizes,
    text_sizes,
    vae_sizes,
)
from latentloom.diffusion.weights.single_file import find_vae
from latentloom.diffusion.weights.text_keys import find_text_encoders
from tests.original_keys import text_keys, unet_keys, vae_keys
from tests.tiny_model import write_tiny_control, write_tiny_model

DOWN, CROSS_DOWN, UP, CROSS_UP = (
    "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
)  # fmt: skip
SD15: dict[str, Any] = {
    "block_out_channels": (32, 64, 64), "down_block_types": (CROSS_DOWN, CROSS_DOWN, DOWN),
    "up_block_types": (UP, CROSS_UP, CROSS_UP), "cross_attention_dim": 48, "layers_per_block": 2,
}  # fmt: skip
SDXL = {
    **SD15, "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN),
    "up_block_types": (CROSS_UP, CROSS_UP, UP), "transformer_layers_per_block": (1, 2, 3),
    "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 1600,
}  # fmt: skip
UNETS: dict[str, dict[str, Any]] = {
    "SD1.5": SD15,
    "inpainting": {**SD15, "in_channels": 9},
    "SDXL": SDXL,
    "LCM": {**SD15, "time_cond_proj_dim": 16},
    "without middle": {**SD15, "mid_block_type": "UNetMidBlock2D"},
    "one layer": {**SD15, "layers_per_block": 1},
}


def sizes_of(module: nn.Module) -> dict[str, int]:
    return {name: value.numel() for name, value in module.state_dict().items()}


def infos_of(module: nn.Module, prefix: str = "") -> dict[str, TensorInfo]:
    state = module.state_dict()
    return {f"{prefix}{name}": TensorInfo("F32", tuple(state[name].shape)) for name in state}


def empty(make: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        return make()


@pytest.mark.parametrize("name", UNETS)
def test_a_denoising_network_has_these_parameters(name: str) -> None:
    module = empty(lambda: UNet2DConditionModel(**UNETS[name]))
    network = find_unet(infos_of(module, "unet."))
    assert network is not None
    assert dict(unet_sizes(network.config)) == sizes_of(module)


CONTROLS: dict[str, dict[str, Any]] = {
    "SD1.5": {"down_block_types": (CROSS_DOWN, CROSS_DOWN, DOWN), "cross_attention_dim": 48},
    "SDXL": {
        "down_block_types": (DOWN, CROSS_DOWN, CROSS_DOWN), "cross_attention_dim": 1024,
        "transformer_layers_per_block": (1, 2, 3), "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 1600,
    },
    "without middle": {
        "down_block_types": (CROSS_DOWN, CROSS_DOWN, DOWN), "cross_attention_dim": 48,
        "mid_block_type": "UNetMidBlock2D",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_net_has_these_parameters(name: str) -> None:
    shape = {"block_out_channels": (32, 64, 64), "conditioning_embedding_out_channels": (16, 32)}
    module = empty(lambda: ControlNetModel(**shape, **CONTROLS[name]))
    network = read_control_network("a", infos_of(module))
    assert dict(control_sizes(network.config)) == sizes_of(module)


def test_a_control_net_that_lacks_a_weight_is_refused_by_the_check(tmp_path: Path) -> None:
    folder = write_tiny_control(tmp_path / "net")
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    save_file(tensors, tmp_path / "a.safetensors")
    check_control(tmp_path / "a.safetensors")
    del tensors["controlnet_mid_block.bias"]
    save_file(tensors, tmp_path / "b.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks the weights controlnet_mid_block\.bias"):
        check_control(tmp_path / "b.safetensors")


@pytest.mark.parametrize("options", [{}, {"use_quant_conv": False, "use_post_quant_conv": False}])
@pytest.mark.parametrize("channels", [(32,), (32, 64, 64)])
def test_an_autoencoder_has_these_parameters(
    channels: tuple[int, ...], options: dict[str, bool]
) -> None:
    levels = len(channels)
    module = empty(
        lambda: AutoencoderKL(
            block_out_channels=channels, layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels, **options,
        )
    )  # fmt: skip
    network = find_vae(infos_of(module, "vae."))
    assert network is not None
    assert dict(vae_sizes(network.config)) == sizes_of(module)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(CLIPTextModel, text_sizes), (CLIPTextModelWithProjection, projected_text_sizes)],
)
def test_a_text_encoder_has_these_parameters(kind: Any, sizes: ParameterSizes) -> None:
    config = CLIPTextConfig(
        vocab_size=99, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=2, projection_dim=64, bos_token_id=97, eos_token_id=98,
        pad_token_id=98,
    )  # fmt: skip
    module = empty(lambda: kind(config))
    names = {name.removeprefix("text_model."): size for name, size in sizes_of(module).items()}
    (encoder,) = find_text_encoders(
        {
            name if name.startswith("text_") else f"text_model.{name}": info
            for name, info in infos_of(module).items()
        }
    )
    assert dict(sizes(encoder.network.config)) == names


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a checkpoint under the original code's keys."""
    root = tmp_path_factory.mktemp("models")
    model = load_checkpoint(write_tiny_model(root / "tiny"))
    tensors = unet_keys(model.model.weights.module) | vae_keys(model.vae.weights.module)
    tensors |= text_keys(model.clip.weights.encoders[0].module)
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}


UNET = "model.diffusion_model."
FIRST = f"{UNET}time_embed.0.weight"
CHANGES: dict[str, tuple[str, Tensor | None, str]] = {
    "scaled fp8": (f"{UNET}time_embed.0.scale_weight", torch.ones(()), "scaled fp8 is not supp"),
    "unknown": (f"{UNET}out.2.more", torch.ones(1), r"out\.2\.more is not a weight"),
    "missing": (f"{UNET}out.2.bias", None, r"lacks the weights conv_out\.bias"),
    "misshapen": (FIRST, torch.ones(3, 5), r"time_embed\.0\.weight: expected 4096 numbers"),
    "vae": ("first_stage_model.decoder.conv_out.bias", None, r"lacks .*decoder\.conv_out\.bias"),
    "text": (
        "cond_stage_model.transformer.text_model.final_layer_norm.bias", None,
        r"lacks .*final_layer_norm\.bias",
    ),
}  # fmt: skip


def check_clip_file(path: Path) -> None:
    check_clip_files((path,), "stable_diffusion")


CHECKS: dict[str, Callable[[Path], None]] = {"vae": check_vae, "text": check_clip_file}


def changed(weights: dict[str, Tensor], name: str, path: Path) -> Path:
    key, value, _ = CHANGES[name]
    tensors = dict(weights)
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_what_loading_refuses_is_refused_by_the_check(
    name: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path, message = changed(weights, name, tmp_path / "a.safetensors"), CHANGES[name][2]
    with pytest.raises(ModelFileError, match=message):
        check_checkpoint(path)
    with pytest.raises(ModelFileError, match=message):
        CHECKS.get(name, check_unet_file)(path)


def test_a_part_may_be_used_where_another_is_incomplete(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    path = changed(weights, "missing", tmp_path / "a.safetensors")
    check_vae(path)
    check_clip_files((path,), "stable_diffusion")


def test_a_complete_checkpoint_passes(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "a.safetensors")
    check_checkpoint(tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == weights.keys()
