"""Compare the weights in a folder with those that its configuration asks for. No torch here.

A configuration with a setting that is not known to leave the parameters alone is not compared:
the library that builds the network decides.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from ..families.stored import Parameters, ParameterSizes, TensorInfos
from ..families.unet_sizes import unet_sizes
from .config_file import ConfigFile, read_config
from .headers import read_tensor_infos
from .parameters import (
    check_complete,
    control_sizes,
    projected_text_sizes,
    text_sizes,
    union_sizes,
    vae_sizes,
)
from .vae_keys import rename_old_attention

DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
UP = ("UpBlock2D", "CrossAttnUpBlock2D")
MIDDLE = ("UNetMidBlock2D", "UNetMidBlock2DCrossAttn")
# The libraries' defaults of what decides the parameters.
DENOISER: dict[str, Any] = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "mid_block_type": "UNetMidBlock2DCrossAttn", "layers_per_block": 2,
    "transformer_layers_per_block": 1, "cross_attention_dim": 1280, "attention_head_dim": 8,
}  # fmt: skip
CONTROL: dict[str, Any] = {
    "conditioning_channels": 3,
    "conditioning_embedding_out_channels": (16, 32, 96, 256),
}
UNION: dict[str, Any] = {
    "conditioning_embedding_out_channels": (48, 96, 192, 384), "num_control_type": 6,
    "num_trans_channel": 320, "num_trans_layer": 1, "num_proj_channel": 320,
}  # fmt: skip
VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "block_out_channels": (64,), "layers_per_block": 1,
    "latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True,
    "down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",),
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "projection_dim": 512,
    "num_hidden_layers": 12, "max_position_embeddings": 77,
}  # fmt: skip
# Settings that add, remove or reshape parameters unless they have these values.
PLAIN: Mapping[str, tuple[Any, ...]] = {
    "only_cross_attention": (False,), "dual_cross_attention": (False,),
    "mid_block_only_cross_attention": (None, False), "cross_attention_norm": (None,),
    "encoder_hid_dim": (None,), "encoder_hid_dim_type": (None,), "class_embed_type": (None,),
    "num_class_embeds": (None,), "class_embeddings_concat": (False,),
    "attention_type": ("default",),
    "resnet_time_scale_shift": ("default",), "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,), "conv_in_kernel": (3,), "conv_out_kernel": (3,),
    "num_attention_heads": (None,), "reverse_transformer_layers_per_block": (None,),
    "addition_embed_type": (None, "text_time"), "mid_block_add_attention": (True,),
}  # fmt: skip


def check_folder_parameters(folder: Path, file: Path) -> None:
    """Check that the weight file of a network's folder has what its configuration asks for.

    Weights that the network does not have are ignored, as the libraries do.

    Raises:
        ModelFileError: a weight is missing or of another size.
    """
    sizes = folder_sizes(read_config(folder / "config.json"), folder.name)
    if sizes is None:
        return
    label = f"{folder.parent.name}/{folder.name}"
    stored = dict(_stored(read_tensor_infos(file)))
    check_complete(label, sizes.keys() - stored.keys())
    for name, size in sizes.items():
        if math.prod(stored[name]) != size:
            got = f"the shape {tuple(stored[name])}"
            raise ModelFileError(f"{label}: {name}: expected {size} numbers, got {got}")


def folder_sizes(config: ConfigFile, folder: str) -> dict[str, int] | None:
    """Return the size of each parameter that a configuration asks for; None if it is not known."""
    try:
        parameters = _parameters(config, folder)
        return None if parameters is None else dict(parameters)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return None  # loading names what is wrong


def _stored(infos: TensorInfos) -> Iterator[tuple[str, tuple[int, ...]]]:
    for key, info in infos.items():
        yield rename_old_attention(key).removeprefix("text_model."), tuple(info.shape)


def _parameters(config: ConfigFile, folder: str) -> Parameters | None:
    """Return the parameters of the network; None if not all of its settings are known."""
    values = config.values
    is_plain = all(values.get(key, plain[0]) in plain for key, plain in PLAIN.items())
    if "_class_name" in values and not is_plain:
        return None
    match values.get("_class_name") or _text_class(values, folder):
        case "UNet2DConditionModel":
            return _denoiser(values, {}, unet_sizes)
        case "ControlNetModel":
            return _denoiser(values, CONTROL, control_sizes)
        case "ControlNetUnionModel":
            return _denoiser(values, CONTROL | UNION, union_sizes)
        case "AutoencoderKL":
            return _autoencoder(VAE | _given(values))
        case "CLIPTextModel":
            return text_sizes(TEXT | _given(values))
        case "CLIPTextModelWithProjection":
            return projected_text_sizes(TEXT | _given(values))
    return None


def _text_class(values: Mapping[str, Any], folder: str) -> str:
    """Return the class of a text encoder, which older configurations do not name."""
    default = f"CLIPTextModel{'WithProjection' if folder.endswith('_2') else ''}"
    architectures = values.get("architectures") or [default]
    return str(architectures[0]) if folder.startswith("text_encoder") else ""


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _denoiser(
    values: Mapping[str, Any], more: Mapping[str, Any], sizes: ParameterSizes
) -> Parameters | None:
    config: dict[str, Any] = DENOISER | dict(more) | _given(values)
    levels, heads = len(config["block_out_channels"]), config["attention_head_dim"]
    depths, layers = config["transformer_layers_per_block"], config["layers_per_block"]
    depths = [depths] * levels if isinstance(depths, int) else depths
    heads = [heads] * levels if isinstance(heads, int) else heads
    is_known = (
        set(config["down_block_types"]) <= set(DOWN)
        and set(config["up_block_types"]) <= set(UP)
        and values.get("mid_block_type", MIDDLE[0]) in MIDDLE
        and isinstance(config["cross_attention_dim"], int)
        and all(isinstance(depth, int) for depth in depths)
        and len(config["down_block_types"]) == len(depths) == levels
        and not any(map(operator.mod, config["block_out_channels"], heads))
    )
    if not is_known:
        return None
    counts = [layers] * levels if isinstance(layers, int) else layers
    pairs = zip(depths, counts, strict=True)
    reverse = [[depth] * (count + 1) for depth, count in pairs][::-1]
    config |= {"transformer_layers_per_block": depths}
    return sizes(config | {"reverse_transformer_layers_per_block": reverse})


def _autoencoder(config: Mapping[str, Any]) -> Parameters | None:
    levels = len(config["block_out_channels"])
    is_known = (
        config["in_channels"] == config["out_channels"] == 3
        and list(config["down_block_types"]) == ["DownEncoderBlock2D"] * levels
        and list(config["up_block_types"]) == ["UpDecoderBlock2D"] * levels
    )
    return vae_sizes(config) if is_known else None
