"""Z-Image, base and Turbo: one stream of image and text tokens.

Source: Z-Image (arXiv 2511.22699); the network is diffusers' ZImageTransformer2DModel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .family import Architecture, Family, FlowLevels, NetworkFile
from .patch_sizes import crop_to, pad_to_patches
from .space import FLUX
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
# Keys of the original code, and of diffusers.
ORIGINAL_MARK = "noise_refiner.0.attention.k_norm.weight"
DIFFUSERS_MARK = "noise_refiner.0.attention.norm_k.weight"
CAPTION = "cap_embedder.1.weight"
# Lumina 2 has the same keys but this one.
PADDING = "x_pad_token"
HEAD_WIDTH = 128
PATCH, LATENT_CHANNELS = 2, 16
# The original code's names of modules, and ours.
RENAMED = {
    "final_layer.": "all_final_layer.2-1.",
    "x_embedder.": "all_x_embedder.2-1.",
    ".attention.out.": ".attention.to_out.0.",
    ".attention.k_norm.": ".attention.norm_k.",
    ".attention.q_norm.": ".attention.norm_q.",
}
QKV = ".attention.qkv."
# A norm that the original code has and does not use.
UNUSED = "norm_final.weight"
AXES = (32, 48, 48)
# Positions that the network can have on each axis: text and one more; rows; columns.
MAX_POSITIONS = (8192, 1024, 1024)
TIMESTEP_WIDTH = 256
BLOCKS = ("noise_refiner", "context_refiner", "layers")
LAYER_STARTS = (
    *BLOCKS, "all_x_embedder", "all_final_layer", "x_embedder", "final_layer", "cap_embedder",
    "t_embedder",
)  # fmt: skip


def find_network(infos: TensorInfos) -> StoredNetwork | None:
    """Return the network of a file; None if it has none of this class."""
    for prefix in PREFIXES:
        is_original = has_keys(infos, prefix, ORIGINAL_MARK, CAPTION, PADDING)
        if not is_original and not has_keys(infos, prefix, DIFFUSERS_MARK, CAPTION, PADDING):
            continue
        names: dict[str, str] = {}
        split: dict[str, tuple[str, ...]] = {}
        for key in infos:
            theirs = key.removeprefix(prefix)
            if not key.startswith(prefix) or theirs == UNUSED:
                continue
            ours = rename(theirs) if is_original else theirs
            if QKV in ours:
                split[key] = tuple(ours.replace(QKV, f".attention.to_{part}.") for part in "qkv")
            else:
                names[key] = ours
        return StoredNetwork(_read_config(infos, prefix), names, split)
    return None


def rename(theirs: str) -> str:
    """Return diffusers' name for one of the original code; joined layers stay joined."""
    for old, new in RENAMED.items():
        if theirs.startswith(old) or (old.startswith(".") and old in theirs):
            theirs = theirs.replace(old, new, 1)
    return theirs


def _read_config(infos: TensorInfos, prefix: str) -> dict[str, Any]:
    width, text_width = infos[prefix + CAPTION].shape
    return {
        "dim": width,
        "n_layers": count_members(infos, f"{prefix}layers."),
        "n_refiner_layers": count_members(infos, f"{prefix}noise_refiner."),
        "n_heads": width // HEAD_WIDTH,
        "n_kv_heads": width // HEAD_WIDTH,
        "cap_feat_dim": text_width,
        "axes_dims": list(AXES),
        "axes_lens": list(MAX_POSITIONS),
    }


def parameter_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a network."""
    width, text_width = config["dim"], config["cap_feat_dim"]
    inner, pixels = int(width / 3 * 8), LATENT_CHANNELS * PATCH**2
    embedding = min(width, TIMESTEP_WIDTH)
    yield from _layer("all_x_embedder.2-1", width, pixels)
    yield from _layer("all_final_layer.2-1.linear", pixels, width)
    yield from _layer("all_final_layer.2-1.adaLN_modulation.1", width, embedding)
    yield "cap_embedder.0.weight", text_width
    yield from _layer("cap_embedder.1", width, text_width)
    yield from _layer("t_embedder.mlp.0", 1024, 256)
    yield from _layer("t_embedder.mlp.2", embedding, 1024)
    yield "x_pad_token", width
    yield "cap_pad_token", width
    for group in BLOCKS:
        for number in range(config["n_layers" if group == "layers" else "n_refiner_layers"]):
            block = f"{group}.{number}"
            for part in ("to_q", "to_k", "to_v", "to_out.0"):
                yield f"{block}.attention.{part}.weight", width * width
            for part in ("norm_q", "norm_k"):
                yield f"{block}.attention.{part}.weight", HEAD_WIDTH
            for part in ("w1", "w2", "w3"):
                yield f"{block}.feed_forward.{part}.weight", width * inner
            for part in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
                yield f"{block}.{part}.weight", width
            if group != "context_refiner":
                yield from _layer(f"{block}.adaLN_modulation.0", 4 * width, embedding)


def _layer(name: str, outputs: int, inputs: int) -> Parameters:
    yield f"{name}.weight", outputs * inputs
    yield f"{name}.bias", outputs


def original_layers(layers: Iterable[str]) -> dict[str, OriginalLayer]:
    """Return our layers for each of the original code's, which joins some."""
    original: dict[str, OriginalLayer] = {}
    for ours in layers:
        theirs = ours
        for old, new in RENAMED.items():
            inner, stem = new.startswith("."), new.rstrip(".")
            if theirs.startswith(new) or (inner and theirs.endswith(stem)):
                theirs = theirs.replace(stem, old.rstrip("."), 1)
        if theirs.endswith(".attention.to_q"):
            stem = theirs.removesuffix("to_q")
            original[f"{stem}qkv"] = OriginalLayer(tuple(f"{stem}to_{part}" for part in "qkv"))
        elif not theirs.endswith((".attention.to_k", ".attention.to_v")):
            original[theirs] = OriginalLayer((ours,))
    return original


def predict(
    module: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    _added: None,
    _control: None,
) -> Tensor:
    """Return the raw output of a network; see `Architecture.predict`.

    The network's time runs from noise to image, and its output points that way too.
    """
    import torch

    padded = pad_to_patches(x, PATCH)
    images, texts = list(padded.unsqueeze(2).unbind()), list(context.unbind())
    output: list[Tensor] = module(images, 1 - timestep, texts, return_dict=False)[0]
    return crop_to(-torch.stack(output).squeeze(2), x)


Z_IMAGE_NETWORK = Architecture(
    class_name="ZImageTransformer2DModel",
    folder="transformer",
    find=find_network,
    sizes=parameter_sizes,
    original_layers=original_layers,
    layer_starts=LAYER_STARTS,
    gather=lambda _family, _x, _prompts, _sides: None,
    concat=lambda _family, _x, _prompt, _source: None,
    predict=predict,
    joins=lambda _first, _second: True,
    is_narrow=True,
)


def recognize(_file: NetworkFile) -> Family | None:
    """Return the family; base and Turbo are the same network."""
    return Z_IMAGE


Z_IMAGE = Family(
    "z-image",
    Z_IMAGE_NETWORK,
    recognize,
    space=FLUX,
    text_dim=2560,
    prediction="flow",
    native_size=1024,
    in_channels=LATENT_CHANNELS,
    flow=FlowLevels(shift=3.0, multiplier=1.0),
    lora_width=3840,
)
