"""CLIP text encoders by their keys: transformers' names or OpenCLIP's. No torch here.

`language_keys` reads those of T5 and of language models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ModelFileError
from ..families.stored import StoredNetwork, TensorInfos, count_members

TextKind = Literal["l", "h", "g", "t5xxl", "qwen3", "qwen25"]

VOCABULARY_FILES = ("vocab.json", "merges.txt")
TOKEN_EMBEDDING = "token_embedding.weight"
POSITIONS = 77
HEAD_WIDTH = 64
KIND_BY_WIDTH: dict[int, TextKind] = {768: "l", 1024: "h", 1280: "g"}
KIND_ORDER: list[TextKind] = [*KIND_BY_WIDTH.values(), "t5xxl", "qwen3", "qwen25"]
KIND_NAMES: dict[TextKind, str] = {
    "l": "CLIP L", "h": "CLIP H", "g": "CLIP G", "t5xxl": "T5", "qwen3": "Qwen 3",
    "qwen25": "Qwen 2.5",
}  # fmt: skip
PROJECTION = "text_projection.weight"
JOINED_ATTENTION = "attn.in_proj_"
OPEN_CLIP_MODULES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


@dataclass(frozen=True)
class StoredTextEncoder:
    """A text encoder in a file.

    Attributes:
        kind: CLIP-L, OpenCLIP-H or OpenCLIP-G, by its width, or the language model. CLIP encoders
            of another width count as G if they have OpenCLIP's names or a projection, else as L.
        has_projection: it projects its pooled output.
        has_vision: a language model with a vision tower.
    """

    kind: TextKind
    network: StoredNetwork
    has_projection: bool = False
    has_vision: bool = False

    @property
    def width(self) -> int:
        """The width of its encoding."""
        width: int = self.network.config["hidden_size"]
        return width

    @property
    def is_clip(self) -> bool:
        """True for CLIP, False for T5 and language models."""
        return self.kind in KIND_BY_WIDTH.values()


def find_text_encoders(infos: TensorInfos) -> tuple[StoredTextEncoder, ...]:
    """Return the text encoders of a file, in the order of the kinds l, h, g.

    Raises:
        ModelFileError: one lacks keys.
    """
    prefixes = [
        name.removesuffix(TOKEN_EMBEDDING) for name in infos if name.endswith(TOKEN_EMBEDDING)
    ]
    encoders = [_read_encoder(infos, prefix) for prefix in prefixes]
    return tuple(sorted(encoders, key=lambda encoder: KIND_ORDER.index(encoder.kind)))


def _read_encoder(infos: TensorInfos, prefix: str) -> StoredTextEncoder:
    try:
        if prefix.endswith("embeddings."):
            return _read_transformers(infos, prefix.removesuffix("embeddings."))
        return _read_open_clip(infos, prefix)
    except KeyError as error:
        raise ModelFileError(f"the text encoder lacks {error.args[0]}") from error


def _read_transformers(infos: TensorInfos, prefix: str) -> StoredTextEncoder:
    modules = ("embeddings.", "encoder.", "final_layer_norm.")
    names = {
        name: name.removeprefix(prefix)
        for name in infos
        if name.startswith(tuple(prefix + module for module in modules))
        and not name.endswith("position_ids")
    }
    projection = f"{prefix.removesuffix('text_model.')}{PROJECTION}"
    if projection in infos:
        names[projection] = PROJECTION
    tokens, width = infos[f"{prefix}embeddings.{TOKEN_EMBEDDING}"].shape
    kind = KIND_BY_WIDTH.get(width, "g" if projection in infos else "l")
    layers = count_members(infos, f"{prefix}encoder.layers.")
    inner = infos[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape[0]
    network = StoredNetwork(_make_config(kind, tokens, width, layers, inner), names)
    return StoredTextEncoder(kind, network, projection in infos)


def _read_open_clip(infos: TensorInfos, prefix: str) -> StoredTextEncoder:
    names = {
        prefix + TOKEN_EMBEDDING: f"embeddings.{TOKEN_EMBEDDING}",
        f"{prefix}positional_embedding": "embeddings.position_embedding.weight",
        f"{prefix}ln_final.weight": "final_layer_norm.weight",
        f"{prefix}ln_final.bias": "final_layer_norm.bias",
    }
    split: dict[str, tuple[str, ...]] = {}
    blocks = f"{prefix}transformer.resblocks."
    for name in infos:
        if name.startswith(blocks):
            number, _, key = name.removeprefix(blocks).partition(".")
            layer = f"encoder.layers.{number}"
            if key.startswith(JOINED_ATTENTION):
                kind = key.removeprefix(JOINED_ATTENTION)
                split[name] = tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
            else:
                module, _, kind = key.rpartition(".")
                names[name] = f"{layer}.{OPEN_CLIP_MODULES.get(module, module)}.{kind}"
    projection = f"{prefix}text_projection"
    for stored in (projection, f"{projection}.weight"):
        if stored in infos:
            names[stored] = PROJECTION
    tokens, width = infos[prefix + TOKEN_EMBEDDING].shape
    text_kind = KIND_BY_WIDTH.get(width, "g")
    inner = infos[f"{blocks}0.mlp.c_fc.weight"].shape[0]
    config = _make_config(text_kind, tokens, width, count_members(infos, blocks), inner)
    transposed = frozenset({projection} & infos.keys())
    network = StoredNetwork(config, names, split, transposed)
    return StoredTextEncoder(text_kind, network, PROJECTION in names.values())


def _make_config(
    kind: TextKind, tokens: int, width: int, layers: int, inner: int
) -> dict[str, Any]:
    return {
        "vocab_size": tokens,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": POSITIONS,
        "projection_dim": width,
        "bos_token_id": tokens - 2,
        "eos_token_id": tokens - 1,
        "pad_token_id": tokens - 1,
        "hidden_act": "quick_gelu" if kind == "l" else "gelu",
    }
