"""Text encoders other than CLIP by their keys: T5 and language models. No torch here.

Other parts of their files, such as a decoder or a head that predicts words, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ModelFileError
from ..families.stored import Parameters, StoredNetwork, TensorInfos, count_members
from .text_keys import StoredTextEncoder, TextKind

T5_MARK = "encoder.block.0.layer.1.DenseReluDense.wi_1.weight"
WORDS = "embed_tokens.weight"
KEY = "layers.0.self_attn.k_proj"
VISION_MARK = "visual.patch_embed.proj.weight"
# Qwen 2.5 does not say in its keys how wide a head is.
HEAD_WIDTH, VISION_HEAD_WIDTH = 128, 80
ROPE_THETA = 1e6
MROPE_SECTION = (16, 24, 24)
EPSILON = 1e-6
FULL_ATTENTION_EVERY = 8


def find_language_models(infos: TensorInfos) -> tuple[StoredTextEncoder, ...]:
    """Return the text encoders of a file that are T5 or language models.

    Raises:
        ModelFileError: one lacks keys.
    """
    try:
        return (*_find_t5(infos), *_find_qwen(infos))
    except (KeyError, IndexError) as error:
        raise ModelFileError(f"the text encoder lacks {error.args[0]}") from error
    except (ZeroDivisionError, ValueError) as error:
        raise ModelFileError("the text encoder has weights of impossible shapes") from error


def _find_t5(infos: TensorInfos) -> Iterator[StoredTextEncoder]:
    for mark in [name for name in infos if name.endswith(T5_MARK)]:
        prefix = mark.removesuffix(T5_MARK)
        names = {
            name: name.removeprefix(f"{prefix}encoder.")
            for name in infos
            if name.startswith((f"{prefix}encoder.block.", f"{prefix}encoder.final_layer_norm."))
        }
        shared, own = f"{prefix}shared.weight", f"{prefix}encoder.{WORDS}"
        words = own if own in infos and shared not in infos else shared
        names[words] = WORDS
        tokens, width = infos[words].shape
        blocks = f"{prefix}encoder.block."
        attention = f"{blocks}0.layer.0.SelfAttention"
        buckets, heads = infos[f"{attention}.relative_attention_bias.weight"].shape
        config = {
            "vocab_size": tokens,
            "hidden_size": width,
            "d_kv": infos[f"{attention}.q.weight"].shape[0] // heads,
            "d_ff": infos[mark].shape[0],
            "num_layers": count_members(infos, blocks),
            "num_heads": heads,
            "relative_attention_num_buckets": buckets,
            "feed_forward_proj": "gated-gelu",
        }
        yield StoredTextEncoder("t5xxl", StoredNetwork(config, names))


def _find_qwen(infos: TensorInfos) -> Iterator[StoredTextEncoder]:
    for words in [name for name in infos if name.endswith(WORDS)]:
        prefix = words.removesuffix(WORDS)
        kind = _language_kind(infos, prefix)
        if kind is None:
            continue
        config = _read_language_config(infos, prefix, kind)
        modules = ("layers.", "norm.", WORDS)
        names = {
            name: name.removeprefix(prefix)
            for name in infos
            if name.startswith(tuple(prefix + module for module in modules))
        }
        vision = _vision_prefix(infos, prefix) if kind == "qwen25" else None
        if vision is not None:
            names = {name: f"language_model.{ours}" for name, ours in names.items()}
            names |= {
                name: f"visual.{name.removeprefix(vision)}"
                for name in infos
                if name.startswith(vision)
            }
            config["vision"] = _read_vision_config(infos, vision)
        yield StoredTextEncoder(kind, StoredNetwork(config, names), has_vision=vision is not None)


def _language_kind(infos: TensorInfos, prefix: str) -> TextKind | None:
    if f"{prefix}layers.0.self_attn.q_norm.weight" in infos:
        return "qwen3"
    return "qwen25" if f"{prefix}{KEY}.bias" in infos else None


def _vision_prefix(infos: TensorInfos, prefix: str) -> str | None:
    """Return the prefix of the vision tower of a language model; None if it has none."""
    root = prefix.removesuffix("language_model.")
    for start in (root, root.removesuffix("model.")):
        if start + VISION_MARK in infos:
            return f"{start}visual."
    return None


def _read_language_config(infos: TensorInfos, prefix: str, kind: TextKind) -> dict[str, Any]:
    tokens, width = infos[prefix + WORDS].shape
    norm = infos.get(f"{prefix}layers.0.self_attn.q_norm.weight")
    head = HEAD_WIDTH if norm is None else norm.shape[0]
    layer = f"{prefix}layers.0"
    return {
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": infos[f"{layer}.mlp.gate_proj.weight"].shape[0],
        "num_hidden_layers": count_members(infos, f"{prefix}layers."),
        "num_attention_heads": max(1, infos[f"{layer}.self_attn.q_proj.weight"].shape[0] // head),
        "num_key_value_heads": max(1, infos[f"{prefix}{KEY}.weight"].shape[0] // head),
        "head_dim": head,
        "rms_norm_eps": EPSILON,
        "has_bias": kind == "qwen25",
    }


def _read_vision_config(infos: TensorInfos, prefix: str) -> dict[str, Any]:
    width, channels, frames, patch, _ = infos[f"{prefix}patch_embed.proj.weight"].shape
    depth = count_members(infos, f"{prefix}blocks.")
    return {
        "depth": depth,
        "hidden_size": width,
        "intermediate_size": infos[f"{prefix}blocks.0.mlp.gate_proj.weight"].shape[0],
        "num_heads": max(1, width // VISION_HEAD_WIDTH),
        "in_channels": channels,
        "patch_size": patch,
        "temporal_patch_size": frames,
        "out_hidden_size": infos[f"{prefix}merger.mlp.2.weight"].shape[0],
        "fullatt_block_indexes": [*range(FULL_ATTENTION_EVERY - 1, depth, FULL_ATTENTION_EVERY)],
    }


def t5_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of T5's encoder."""
    width, inner, heads = config["hidden_size"], config["d_ff"], config["num_heads"]
    yield WORDS, config["vocab_size"] * width
    for number in range(config["num_layers"]):
        layer = f"block.{number}.layer"
        for part in "qkvo":
            yield f"{layer}.0.SelfAttention.{part}.weight", width * heads * config["d_kv"]
        if number == 0:
            buckets = config["relative_attention_num_buckets"]
            yield f"{layer}.0.SelfAttention.relative_attention_bias.weight", buckets * heads
        for part in ("wi_0", "wi_1", "wo"):
            yield f"{layer}.1.DenseReluDense.{part}.weight", width * inner
        yield f"{layer}.0.layer_norm.weight", width
        yield f"{layer}.1.layer_norm.weight", width
    yield "final_layer_norm.weight", width


def language_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a language model, with its vision tower."""
    vision = config.get("vision")
    prefix = "language_model." if vision else ""
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = (config[f"num_{part}_heads"] * head for part in ("attention", "key_value"))
    yield prefix + WORDS, config["vocab_size"] * width
    for number in range(config["num_hidden_layers"]):
        layer = f"{prefix}layers.{number}"
        for part, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield f"{layer}.self_attn.{part}.weight", width * size
            if config["has_bias"]:
                yield f"{layer}.self_attn.{part}.bias", size
        yield f"{layer}.self_attn.o_proj.weight", width * queries
        if not config["has_bias"]:
            yield f"{layer}.self_attn.q_norm.weight", head
            yield f"{layer}.self_attn.k_norm.weight", head
        for part in ("gate_proj", "up_proj", "down_proj"):
            yield f"{layer}.mlp.{part}.weight", width * inner
        yield f"{layer}.input_layernorm.weight", width
        yield f"{layer}.post_attention_layernorm.weight", width
    yield f"{prefix}norm.weight", width
    if vision:
        yield from _vision_sizes(vision)


def _vision_sizes(config: Mapping[str, Any]) -> Parameters:
    width, inner, patch = config["hidden_size"], config["intermediate_size"], config["patch_size"]
    pixels = config["in_channels"] * config["temporal_patch_size"] * patch**2
    yield "visual.patch_embed.proj.weight", width * pixels
    for number in range(config["depth"]):
        block = f"visual.blocks.{number}"
        yield f"{block}.norm1.weight", width
        yield f"{block}.norm2.weight", width
        for part, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.gate_proj", inner, width),
            ("mlp.up_proj", inner, width),
            ("mlp.down_proj", width, inner),
        ):
            yield f"{block}.{part}.weight", outputs * inputs
            yield f"{block}.{part}.bias", outputs
    yield "visual.merger.ln_q.weight", width
    merged, out = 4 * width, config["out_hidden_size"]
    yield "visual.merger.mlp.0.weight", merged * merged
    yield "visual.merger.mlp.0.bias", merged
    yield "visual.merger.mlp.2.weight", out * merged
    yield "visual.merger.mlp.2.bias", out
