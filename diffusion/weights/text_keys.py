"""CLIP text encoders by their keys: transformers' names or OpenCLIP's. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ModelFileError
from .keys import StoredNetwork, TensorInfos, count_members

TextKind = Literal["l", "h", "g"]

VOCABULARY_FILES = ("vocab.json", "merges.txt")
WORDS = "token_embedding.weight"
POSITIONS = 77
HEAD_WIDTH = 64
KIND_BY_WIDTH: dict[int, TextKind] = {768: "l", 1024: "h", 1280: "g"}
KIND_ORDER = list(KIND_BY_WIDTH.values())
PROJECTION = "text_projection.weight"
JOINED = "attn.in_proj_"
OPEN_CLIP = {
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
        kind: CLIP-L, OpenCLIP-H or OpenCLIP-G, told by its width; of another width one
            in OpenCLIP's names or with a projection is taken for a G, others for an L.
        has_projection: it has a projection for the pooled output.
    """

    kind: TextKind
    network: StoredNetwork
    has_projection: bool

    @property
    def width(self) -> int:
        """Of its encoding."""
        width: int = self.network.config["hidden_size"]
        return width


def find_text_encoders(heads: TensorInfos) -> tuple[StoredTextEncoder, ...]:
    """Every text encoder of a file, in the order of the kinds l, h, g.

    Raises:
        ModelFileError: one lacks keys.
    """
    roots = [name.removesuffix(WORDS) for name in heads if name.endswith(WORDS)]
    found = [_encoder(heads, root) for root in roots]
    return tuple(sorted(found, key=lambda each: KIND_ORDER.index(each.kind)))


def _encoder(heads: TensorInfos, root: str) -> StoredTextEncoder:
    try:
        if root.endswith("embeddings."):
            return _transformers(heads, root.removesuffix("embeddings."))
        return _open_clip(heads, root)
    except KeyError as error:
        raise ModelFileError(f"the text encoder lacks {error.args[0]}") from error


def _transformers(heads: TensorInfos, root: str) -> StoredTextEncoder:
    kept = ("embeddings.", "encoder.", "final_layer_norm.")
    names = {
        name: name.removeprefix(root)
        for name in heads
        if name.startswith(tuple(root + part for part in kept))
        and not name.endswith("position_ids")
    }
    projection = f"{root.removesuffix('text_model.')}{PROJECTION}"
    if projection in heads:
        names[projection] = PROJECTION
    words, width = heads[f"{root}embeddings.{WORDS}"].shape
    kind = KIND_BY_WIDTH.get(width, "g" if projection in heads else "l")
    layers = count_members(heads, f"{root}encoder.layers.")
    inner = heads[f"{root}encoder.layers.0.mlp.fc1.weight"].shape[0]
    part = StoredNetwork(_config(kind, words, width, layers, inner), names)
    return StoredTextEncoder(kind, part, projection in heads)


def _open_clip(heads: TensorInfos, root: str) -> StoredTextEncoder:
    names = {
        root + WORDS: f"embeddings.{WORDS}",
        f"{root}positional_embedding": "embeddings.position_embedding.weight",
        f"{root}ln_final.weight": "final_layer_norm.weight",
        f"{root}ln_final.bias": "final_layer_norm.bias",
    }
    split: dict[str, tuple[str, ...]] = {}
    blocks = f"{root}transformer.resblocks."
    for name in heads:
        if name.startswith(blocks):
            number, _, key = name.removeprefix(blocks).partition(".")
            ours = f"encoder.layers.{number}."
            if key.startswith(JOINED):
                extension = key.removeprefix(JOINED)
                split[name] = tuple(f"{ours}self_attn.{one}_proj.{extension}" for one in "qkv")
            else:
                module, _, extension = key.rpartition(".")
                names[name] = f"{ours}{OPEN_CLIP.get(module, module)}.{extension}"
    bare = f"{root}text_projection"
    for stored in (bare, f"{bare}.weight"):
        if stored in heads:
            names[stored] = PROJECTION
    words, width = heads[root + WORDS].shape
    kind = KIND_BY_WIDTH.get(width, "g")
    inner = heads[f"{blocks}0.mlp.c_fc.weight"].shape[0]
    config = _config(kind, words, width, count_members(heads, blocks), inner)
    turned = frozenset([bare]) if bare in heads else frozenset[str]()
    return StoredTextEncoder(
        kind, StoredNetwork(config, names, split, turned), PROJECTION in names.values()
    )


def _config(kind: TextKind, words: int, width: int, layers: int, inner: int) -> dict[str, Any]:
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": POSITIONS,
        "projection_dim": width,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
        "hidden_act": "quick_gelu" if kind == "l" else "gelu",
    }
