"""Check and run agree on the weights in folders: those of diffusers and transformers, and TAESD."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    ControlNetUnionModel,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import nn

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.diffusion.weights.config_file import ConfigFile
from latentloom.diffusion.weights.control_file import check_control
from latentloom.diffusion.weights.detect import check_checkpoint, check_vae
from latentloom.diffusion.weights.folder_parameters import check_folder_parameters, folder_sizes
from latentloom.diffusion.weights.parameters import tiny_decoder_sizes, tiny_encoder_sizes
from latentloom.diffusion.weights.tiny_vae import TinyVaeFiles, check_tiny_vae
from tests.diffusion.weights.test_parameters import CONTROLS, UNETS, empty, sizes_of
from tests.tiny_model import write_tiny_control, write_tiny_model

SMALL = {"block_out_channels": (32, 64, 64), "cross_attention_dim": 48}
UNION = {
    **SMALL, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "conditioning_embedding_out_channels": (16, 32), "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 80,
    "num_trans_channel": 32, "num_proj_channel": 32, "num_control_type": 5, "num_trans_layer": 2,
}  # fmt: skip
NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{f"unet {name}": (UNet2DConditionModel, options) for name, options in UNETS.items()},
    "unet by default": (UNet2DConditionModel, {}),
    "unet of levels": (UNet2DConditionModel, {
        **UNETS["SD1.5"], "layers_per_block": [1, 2, 1], "attention_head_dim": [4, 8, 8],
    }),
    **{
        f"control {name}": (ControlNetModel, {**options, "block_out_channels": (32, 64, 64)})
        for name, options in CONTROLS.items()
    },
    "union": (ControlNetUnionModel, UNION),
    "vae": (AutoencoderKL, {
        "block_out_channels": (32, 64), "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2, "use_quant_conv": False,
    }),
    "vae by default": (AutoencoderKL, {}),
}  # fmt: skip


def config_of(network: Any) -> ConfigFile:
    return ConfigFile("config.json", json.loads(network.to_json_string()))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_configuration_asks_for_these_parameters(name: str) -> None:
    kind, options = NETWORKS[name]
    module = empty(lambda: kind(**options))
    assert folder_sizes(config_of(module), "folder") == sizes_of(module)


@pytest.mark.parametrize(
    "options",
    [{"class_embed_type": "timestep"}, {"resnet_time_scale_shift": "scale_shift"},
     {"only_cross_attention": True}, {"conv_in_kernel": 5}, {"time_embedding_dim": 7},
     {"mid_block_type": None}, {"down_block_types": ["SimpleCrossAttnDownBlock2D"] * 3},
     {"cross_attention_dim": [48, 48, 48]}, {"block_out_channels": 7}],
    ids=str,
)  # fmt: skip
def test_a_configuration_with_an_unknown_setting_is_left_to_the_library(
    options: dict[str, Any],
) -> None:
    values = {"_class_name": "UNet2DConditionModel", **UNETS["SD1.5"], **options}
    assert folder_sizes(ConfigFile("config.json", values), "unet") is None


def test_taesd_has_these_parameters() -> None:
    module: nn.Module = AutoencoderTiny()
    for side, sizes in (("encoder", tiny_encoder_sizes), ("decoder", tiny_decoder_sizes)):
        layers = module.get_submodule(f"{side}.layers")
        assert dict(sizes({})) == sizes_of(layers)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen"])
def test_a_taesd_with_other_weights_is_refused_by_the_check(
    side: str, change: str, tmp_path: Path
) -> None:
    network: nn.Module = AutoencoderTiny()
    paths = {part: tmp_path / f"taesd_{part}.safetensors" for part in SIDES}
    files = TinyVaeFiles("taesd", paths["encoder"], paths["decoder"])
    for part, path in paths.items():
        layers = network.get_submodule(f"{part}.layers").state_dict().items()
        first = SIDES.index(part)
        tensors = {
            f"{int(name.split('.')[0]) + first}.{name.partition('.')[2]}": value
            for name, value in layers
        }
        save_file(tensors, path)
    check_tiny_vae(files)
    path = paths[side]
    save_file(changed(load_file(path), f"{SIDES.index(side)}.bias", change), path)
    with pytest.raises(ModelFileError, match=MESSAGES[change]):
        check_tiny_vae(files)


SIDES = ("encoder", "decoder")
MESSAGES = {
    "missing": "lacks the weights", "unknown": "more is not a weight", "misshapen": "expected",
}  # fmt: skip


def changed(tensors: dict[str, torch.Tensor], key: str, change: str) -> dict[str, torch.Tensor]:
    if change == "missing":
        del tensors[key]
    elif change == "unknown":
        tensors["more"] = torch.ones(1)
    else:
        tensors[key] = torch.ones(3, 5)
    return tensors


KEYS = {
    "unet": "conv_out.bias", "vae": "decoder.conv_out.bias",
    "text_encoder": "text_model.final_layer_norm.bias",
}  # fmt: skip


@pytest.mark.parametrize("change", MESSAGES)
@pytest.mark.parametrize("part", KEYS)
def test_check_and_run_agree_on_a_checkpoint_in_a_folder(
    part: str, change: str, tmp_path: Path
) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    check_checkpoint(folder)
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    (key,) = [name for name in tensors if KEYS[part].endswith(name)]
    save_file(changed(tensors, key, change), file, {"format": "pt"})
    if change == "unknown":
        check_checkpoint(folder)
        load_checkpoint(folder)
        return
    with pytest.raises(ModelFileError, match=MESSAGES[change]):
        check_checkpoint(folder)
    if part == "vae":
        with pytest.raises(ModelFileError, match=MESSAGES[change]):
            check_vae(folder / "vae")


def test_a_control_net_in_a_folder_that_lacks_a_weight_is_refused_by_the_check(
    tmp_path: Path,
) -> None:
    folder = write_tiny_control(tmp_path / "net")
    check_control(folder)
    (file,) = folder.glob("*.safetensors")
    save_file(changed(load_file(file), "controlnet_mid_block.bias", "missing"), file)
    with pytest.raises(ModelFileError, match=r"lacks the weights controlnet_mid_block\.bias"):
        check_control(folder)


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_union_control_net_that_lacks_a_weight_is_refused_by_the_check(
    is_folder: bool, tmp_path: Path
) -> None:
    ControlNetUnionModel(**UNION).save_pretrained(tmp_path / "union")
    (file,) = (tmp_path / "union").glob("*.safetensors")
    path = tmp_path / "union" if is_folder else file
    check_control(path)
    save_file(changed(load_file(file), "task_embedding", "missing"), file)
    save_file(
        changed(load_file(file) | {"task_embedding": torch.ones(5, 32)},
                "spatial_ch_projs.bias", "missing"),
        file,
    )  # fmt: skip
    with pytest.raises(ModelFileError, match=r"lacks the weights spatial_ch_projs\.bias"):
        check_control(path)


def test_attention_names_of_before_are_known(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    (file,) = (folder / "vae").glob("*.safetensors")
    old = {
        name.replace("to_out.0", "proj_attn").replace("to_q", "query")
        .replace("to_k", "key").replace("to_v", "value"): tensor
        for name, tensor in load_file(file).items()
    }  # fmt: skip
    save_file(old, file, {"format": "pt"})
    check_folder_parameters(folder / "vae", file)
    load_checkpoint(folder)
