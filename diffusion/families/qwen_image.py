"""Qwen-Image and its editing models: two streams, of image and text tokens.

Source: Qwen-Image (arXiv 2508.02324); the network is diffusers' QwenImageTransformer2DModel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelFileError, SamplingError
from .added import repeat_rows
from .conditions import Prompt
from .family import Architecture, Family, FlowLevels, NetworkFile
from .patch_sizes import crop_to, pad_to_patches
from .space import WAN
from .stored import (
    OriginalLayer,
    Parameters,
    StoredNetwork,
    TensorInfos,
    count_members,
    has_keys,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "net.", "model.", "")
MARK, TEXT_MARK = "transformer_blocks.0.attn.norm_added_q.weight", "txt_norm.weight"
# Empty tensors that mark models of 2511 and later, and layered models.
ZERO_MARK, LAYERED_MARK = "__index_timestep_zero__", "time_text_embed.addition_t_embedding.weight"
HEAD_WIDTH, PATCH, LATENT_CHANNELS = 128, 2, 16
INDEX, INDEX_ZERO = "index", "index_timestep_zero"
METHODS = (INDEX, INDEX_ZERO)
TIME_WIDTH = 256
LAYER_STARTS = ("transformer_blocks", "img_in", "txt_in", "time_text_embed", "norm_out", "proj_out")
# Layers that Flux.1 does not have, whose other layers have the same names.
LORA_MARKS = ("_img_mlp_net_", "_txt_mlp_net_", "_img_mod_1", "_txt_mod_1")
# Of the sigmas at 1328 pixels; Flux' formula.
MU = 1.15


def find_network(infos: TensorInfos) -> StoredNetwork | None:
    """Return the network of a file; None if it has none of this class.

    Raises:
        ModelFileError: it is a layered model.
    """
    for prefix in PREFIXES:
        if not has_keys(infos, prefix, MARK, TEXT_MARK, "img_in.weight", "proj_out.weight"):
            continue
        if prefix + LAYERED_MARK in infos:
            raise ModelFileError("layered models of Qwen-Image are not supported")
        names = {
            key: key.removeprefix(prefix)
            for key in infos
            if key.startswith(prefix) and key != prefix + ZERO_MARK
        }
        width, pixels = infos[f"{prefix}img_in.weight"].shape
        config = {
            "in_channels": pixels,
            "out_channels": infos[f"{prefix}proj_out.weight"].shape[0] // PATCH**2,
            "num_layers": count_members(infos, f"{prefix}transformer_blocks."),
            "num_attention_heads": width // HEAD_WIDTH,
            "joint_attention_dim": infos[prefix + TEXT_MARK].shape[0],
            "zero_cond_t": prefix + ZERO_MARK in infos,
        }
        return StoredNetwork(config, names)
    return None


def parameter_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a network."""
    width, text_width = config["num_attention_heads"] * HEAD_WIDTH, config["joint_attention_dim"]
    yield from _layer("time_text_embed.timestep_embedder.linear_1", width, TIME_WIDTH)
    yield from _layer("time_text_embed.timestep_embedder.linear_2", width, width)
    yield "txt_norm.weight", text_width
    yield from _layer("img_in", width, config["in_channels"])
    yield from _layer("txt_in", width, text_width)
    for number in range(config["num_layers"]):
        block = f"transformer_blocks.{number}"
        for stream in ("img", "txt"):
            yield from _layer(f"{block}.{stream}_mod.1", 6 * width, width)
            yield from _layer(f"{block}.{stream}_mlp.net.0.proj", 4 * width, width)
            yield from _layer(f"{block}.{stream}_mlp.net.2", width, 4 * width)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _layer(f"{block}.attn.{part}", width, width)
        for part in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            yield from _layer(f"{block}.attn.{part}", width, width)
        for part in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            yield f"{block}.attn.{part}.weight", HEAD_WIDTH
    yield from _layer("norm_out.linear", 2 * width, width)
    yield from _layer("proj_out", config["out_channels"] * PATCH**2, width)


def _layer(name: str, outputs: int, inputs: int) -> Parameters:
    yield f"{name}.weight", outputs * inputs
    yield f"{name}.bias", outputs


def original_layers(layers: Iterable[str]) -> dict[str, OriginalLayer]:
    """Return our layers by the original code's names, which are the same."""
    return {layer: OriginalLayer((layer,)) for layer in layers}


class References(NamedTuple):
    """Images to edit, as the network takes them.

    Attributes:
        latents: each B×C×F×h×w in the space of sampling, padded to whole patches.
        is_zero: their tokens are modulated as at sigma 0.
    """

    latents: tuple[Tensor, ...]
    is_zero: bool | None


def gather(
    family: Family, x: Tensor, prompts: Sequence[Prompt], _sides: Sequence[int]
) -> References:
    """Return the reference latents of prompts, each with B rows; see `Architecture.gather`.

    Raises:
        SamplingError: they are to be positioned by a method of another family.
    """
    import torch

    first = prompts[0]
    method = first.reference_method
    if first.references and method is not None and method not in METHODS:
        raise SamplingError(
            f"reference latents of {family.name}: expected the method {' or '.join(METHODS)}, "
            f"got {method}"
        )
    rows, latents = len(x), []
    for alike in zip(*(prompt.references for prompt in prompts), strict=True):
        own = [repeat_rows(family.to_model(_with_frames(one).to(x)), rows) for one in alike]
        latents.append(pad_to_patches(torch.cat(own), PATCH))
    return References(tuple(latents), None if method is None else method == INDEX_ZERO)


def _with_frames(latent: Tensor) -> Tensor:
    """Return a latent with an axis of frames."""
    return latent if latent.ndim == 5 else latent.unsqueeze(2)


def joins(first: Prompt, second: Prompt) -> bool:
    """Return True if one call can take two prompts: with references of the same sizes."""
    shapes = [[one.shape[1:] for one in prompt.references] for prompt in (first, second)]
    return shapes[0] == shapes[1] and first.reference_method == second.reference_method


def predict(
    module: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    added: References,
    _control: None,
) -> Tensor:
    """Return the raw output of a network; see `Architecture.predict`."""
    import torch

    padded = pad_to_patches(x, PATCH)
    images = [padded, *(one.to(x.dtype) for one in added.latents)]
    shapes = [(one.shape[2], one.shape[3] // PATCH, one.shape[4] // PATCH) for one in images]
    tokens = torch.cat([_to_tokens(one) for one in images], dim=1)
    _prepare(module, added.is_zero)
    output: Tensor = module(
        hidden_states=tokens,
        encoder_hidden_states=context,
        timestep=timestep,
        img_shapes=[shapes] * len(x),
        return_dict=False,
    )[0]
    return crop_to(_to_latent(output[:, : math.prod(shapes[0])], padded), x)


def _prepare(module: nn.Module, is_zero: bool | None) -> None:
    """Set how references are modulated, and positions as the model was trained with."""
    from .qwen_positions import QwenPositions

    if not isinstance(module.pos_embed, QwenPositions):
        module.pos_embed = QwenPositions()
    config: Any = module.config
    zero = bool(config.zero_cond_t) if is_zero is None else is_zero
    module.zero_cond_t = zero  # type: ignore[assignment]
    for block in module.get_submodule("transformer_blocks").children():
        block.zero_cond_t = zero  # type: ignore[assignment]


def _to_tokens(x: Tensor) -> Tensor:
    """Return B×C×F×h×w as tokens B×n×(C·4): patches of 2×2 cells, row by row."""
    batch, channels, frames, height, width = x.shape
    patches = x.reshape(batch, channels, frames, height // PATCH, PATCH, width // PATCH, PATCH)
    return patches.permute(0, 2, 3, 5, 1, 4, 6).reshape(batch, -1, channels * PATCH**2)


def _to_latent(tokens: Tensor, like: Tensor) -> Tensor:
    """Return tokens as a latent of a shape; the inverse of `_to_tokens`."""
    batch, channels, frames, height, width = like.shape
    shape = (batch, frames, height // PATCH, width // PATCH, channels, PATCH, PATCH)
    return tokens.reshape(shape).permute(0, 4, 1, 2, 5, 3, 6).reshape(like.shape)


QWEN_IMAGE_NETWORK = Architecture(
    class_name="QwenImageTransformer2DModel",
    folder="transformer",
    find=find_network,
    sizes=parameter_sizes,
    original_layers=original_layers,
    layer_starts=LAYER_STARTS,
    gather=gather,
    concat=lambda _family, _x, _prompt, _source: None,
    predict=predict,
    joins=joins,
    is_narrow=True,
)


def recognize(_file: NetworkFile) -> Family | None:
    """Return the family; models for text to image and for editing are one network."""
    return QWEN_IMAGE


QWEN_IMAGE = Family(
    "qwen-image",
    QWEN_IMAGE_NETWORK,
    recognize,
    space=WAN,
    text_dim=3584,
    prediction="flow",
    native_size=1328,
    in_channels=LATENT_CHANNELS,
    flow=FlowLevels(shift=math.exp(MU), multiplier=1.0, timesteps=10_000, is_flux=True),
    lora_width=3072,
    lora_marks=LORA_MARKS,
)
