"""The keys of Flux.1's transformer in files: the original code's, or diffusers'. No torch here.

Depth, width and input channels are read from the shapes, so that a shortened network loads too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .stored import OriginalLayer, Parameters, StoredNetwork, TensorInfos, count_members, has_keys

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "")
LAYER_STARTS = (
    "double_blocks", "single_blocks", "transformer_blocks", "single_transformer_blocks", "img_in",
    "txt_in", "time_in", "vector_in", "guidance_in", "final_layer", "x_embedder",
    "context_embedder", "time_text_embed", "norm_out", "proj_out",
)  # fmt: skip
HEAD_WIDTH = 128
MLP_RATIO = 4
OUTER = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
SINGLE = {
    "modulation.lin": "norm.linear",
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
# Layers of the original code that join several of diffusers', one below the other.
DOUBLE_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
SINGLE_JOINED = {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")}
BLOCKS = (
    ("double_blocks", "transformer_blocks", DOUBLE, DOUBLE_JOINED),
    ("single_blocks", "single_transformer_blocks", SINGLE, SINGLE_JOINED),
)
# The original code's halves, shift and scale, are the other way round.
SWAPPED = "final_layer.adaLN_modulation.1"
KINDS = {"scale": "weight"}


def find_flux(infos: TensorInfos) -> StoredNetwork | None:
    """Return the Flux.1 transformer of a file; None if it has none."""
    for prefix in PREFIXES:
        if has_keys(
            infos, prefix, "img_in.weight", "vector_in.in_layer.weight",
            "double_blocks.0.img_mod.lin.weight", "single_blocks.0.linear1.weight",
        ):  # fmt: skip
            return _map_original(infos, prefix)
        if has_keys(
            infos, prefix, "x_embedder.weight", "time_text_embed.text_embedder.linear_1.weight",
            "transformer_blocks.0.norm1_context.linear.weight",
            "single_transformer_blocks.0.proj_mlp.weight",
        ):  # fmt: skip
            names = {name: name.removeprefix(prefix) for name in infos if name.startswith(prefix)}
            shapes = {ours: infos[theirs].shape for theirs, ours in names.items()}
            return StoredNetwork(make_config(shapes), names)
    return None


def original_layers(layers: Iterable[str]) -> dict[str, OriginalLayer]:
    """Return our layers for each of the original code's, which joins some.

    Args:
        layers: names of ours.
    """
    ours = set(layers)
    by_original = {
        theirs: OriginalLayer((name,), theirs == SWAPPED)
        for theirs, name in OUTER.items()
        if name in ours
    }
    for original, block, single, joined in BLOCKS:
        indices = {name.split(".")[1] for name in ours if name.startswith(f"{block}.")}
        for index in sorted(indices):
            for theirs, parts in _block_layers(single, joined):
                names = tuple(f"{block}.{index}.{part}" for part in parts)
                if ours.issuperset(names):
                    by_original[f"{original}.{index}.{theirs}"] = OriginalLayer(names)
    return by_original


def _block_layers(
    single: Mapping[str, str], joined: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from ((theirs, (name,)) for theirs, name in single.items())
    yield from joined.items()


def _map_original(infos: TensorInfos, prefix: str) -> StoredNetwork:
    names: dict[str, str] = {}
    split: dict[str, tuple[str, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for key in infos:
        if not key.startswith(prefix):
            continue
        layer, _, kind = key.removeprefix(prefix).rpartition(".")
        kind = KINDS.get(kind, kind)
        parts = _our_layers(layer)
        if len(parts) == 1:
            names[key] = f"{parts[0]}.{kind}"
            shapes[names[key]] = infos[key].shape
        else:
            split[key] = tuple(f"{part}.{kind}" for part in parts)
    swapped = frozenset(key for key in names if key.startswith(f"{prefix}{SWAPPED}."))
    return StoredNetwork(make_config(shapes), names, split, swapped=swapped)


def _our_layers(layer: str) -> tuple[str, ...]:
    """Return our layers for one of the original code's; the layer itself if it is unknown."""
    for original, block, single, joined in BLOCKS:
        if layer.startswith(f"{original}."):
            _, index, name = layer.split(".", 2)
            parts = joined.get(name) or (single.get(name, name),)
            return tuple(f"{block}.{index}.{part}" for part in parts)
    return (OUTER.get(layer, layer),)


def make_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return the configuration of a transformer with our names, from what no key joins."""
    width, in_channels = shapes["x_embedder.weight"]
    return {
        "in_channels": in_channels,
        "out_channels": shapes["proj_out.weight"][0],
        "num_layers": count_members(shapes, "transformer_blocks."),
        "num_single_layers": count_members(shapes, "single_transformer_blocks."),
        "attention_head_dim": HEAD_WIDTH,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
    }


def flux_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a Flux.1 transformer."""
    width = config["num_attention_heads"] * HEAD_WIDTH
    inputs = {"timestep": 256, "text": config["pooled_projection_dim"]}
    inputs |= {"guidance": 256} if config["guidance_embeds"] else {}
    for name, size in inputs.items():
        embedder = f"time_text_embed.{name}_embedder"
        yield from _linear(f"{embedder}.linear_1", width, size)
        yield from _linear(f"{embedder}.linear_2", width, width)
    yield from _linear("x_embedder", width, config["in_channels"])
    yield from _linear("context_embedder", width, config["joint_attention_dim"])
    for index in range(config["num_layers"]):
        yield from _double_sizes(f"transformer_blocks.{index}", width)
    for index in range(config["num_single_layers"]):
        yield from _single_sizes(f"single_transformer_blocks.{index}", width)
    yield from _linear("norm_out.linear", 2 * width, width)
    yield from _linear("proj_out", config["out_channels"], width)


def _double_sizes(block: str, width: int) -> Parameters:
    inner = MLP_RATIO * width
    for norm in ("norm1", "norm1_context"):
        yield from _linear(f"{block}.{norm}.linear", 6 * width, width)
    for layer in (*DOUBLE_JOINED["img_attn.qkv"], *DOUBLE_JOINED["txt_attn.qkv"]):
        yield from _linear(f"{block}.{layer}", width, width)
    for layer in ("attn.to_out.0", "attn.to_add_out"):
        yield from _linear(f"{block}.{layer}", width, width)
    for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
        yield f"{block}.attn.{norm}.weight", HEAD_WIDTH
    for name in ("ff", "ff_context"):
        yield from _linear(f"{block}.{name}.net.0.proj", inner, width)
        yield from _linear(f"{block}.{name}.net.2", width, inner)


def _single_sizes(block: str, width: int) -> Parameters:
    yield from _linear(f"{block}.norm.linear", 3 * width, width)
    for layer in ("to_q", "to_k", "to_v"):
        yield from _linear(f"{block}.attn.{layer}", width, width)
    yield from _linear(f"{block}.proj_mlp", MLP_RATIO * width, width)
    yield from _linear(f"{block}.proj_out", width, (1 + MLP_RATIO) * width)
    for norm in ("norm_q", "norm_k"):
        yield f"{block}.attn.{norm}.weight", HEAD_WIDTH


def _linear(name: str, outputs: int, inputs: int) -> Parameters:
    yield f"{name}.weight", outputs * inputs
    yield f"{name}.bias", outputs
