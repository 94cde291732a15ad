"""Text encoding: prompt -> conditioning, with weights, long prompts and earlier layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PromptError
from ..networks.handles import Clip, TextEncoder
from ..networks.residency import retry_when_out_of_memory
from ..text.prompt import Token, tokenize
from ..weights.text_keys import TextKind
from .conditioning import Conditioning, PromptEntry, Sizes
from .embeddings import embedding_vectors

Chunks = list[list[Token]]


def encode_text(clip: Clip, text: str, sizes: Sizes | None = None) -> Conditioning:
    """Encode a prompt.

    Chunks of 77 tokens are encoded apart and joined. A weight moves a token's encoding away from
    that of the empty prompt at its place, without renormalising. Where a model has several text
    encoders, each encodes the prompt, and their encodings lie side by side.

    Returns:
        One entry: tokens 1×77k×d, pooled 1×d of the last encoder's first chunk.

    Raises:
        PromptError: the prompt cannot be read.
    """
    return encode_prompts(clip, {part.kind: text for part in clip.weights.encoders}, sizes)


def encode_prompts(
    clip: Clip, texts: Mapping[TextKind, str], sizes: Sizes | None = None
) -> Conditioning:
    """Encode a prompt for each text encoder; the shorter ones are filled up with empty chunks.

    Raises:
        PromptError: a prompt cannot be read, or there is none for one of the encoders.
    """
    tokens, pooled = retry_when_out_of_memory(lambda: _encode_all(clip, texts))
    # Clones, since what is made while computing takes no part in other arithmetic.
    return (PromptEntry(tokens.clone(), pooled.clone(), sizes=sizes),)


def _encode_all(clip: Clip, texts: Mapping[TextKind, str]) -> tuple[Tensor, Tensor]:
    """1×77k×d of all encoders side by side, and 1×d pooled of the last."""
    weights = clip.weights
    with weights.use(clip.patches):
        parts = weights.encoders
        missing = [part.kind for part in parts if part.kind not in texts]
        if missing:
            known = " and ".join(texts)
            raise PromptError(
                f"prompts for the text encoders {known}, but the model has {missing[0]} too"
            )
        chunks = [_chunks(part, texts[part.kind]) for part in parts]
        longest = max(map(len, chunks))
        for part, have in zip(parts, chunks, strict=True):
            have += _chunks(part, "") * (longest - len(have))
        found = [
            _encode(part, have, clip.layer, weights.device)
            for part, have in zip(parts, chunks, strict=True)
        ]
        return torch.cat([tokens for tokens, _ in found], dim=-1), found[-1][1]


def _chunks(part: TextEncoder, text: str) -> Chunks:
    words: nn.Embedding = part.module.get_input_embeddings()  # type: ignore[operator]
    find = partial(embedding_vectors, kind=part.kind, width=words.embedding_dim)
    return tokenize(text, part.tokenizer.encode, part.tokenizer.special_tokens, find)


def _encode(
    part: TextEncoder, chunks: Chunks, layer: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """1×77k×d of one encoder, and 1×d pooled at the first end mark of the first chunk."""
    weighted = any(token.weight != 1.0 for chunk in chunks for token in chunk)
    empty = _chunks(part, "") if weighted else []
    hidden, pooled = _encode_chunks(part, [*chunks, *empty], layer, device)
    if weighted:
        hidden = _weighted(hidden[:-1], hidden[-1:], chunks)
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled[:1]


def _encode_chunks(
    part: TextEncoder, chunks: Chunks, layer: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """k×77×d of a layer, and k×d pooled."""
    module = part.module
    ids = torch.tensor([[token.id for token in chunk] for chunk in chunks])
    network = module.get_submodule("text_model") if _nested(module) else module
    with _with_vectors(module, chunks):
        found = network(ids.clamp(min=0).to(device), output_hidden_states=True)
    hidden = _hidden(part, network, found, part.layer if layer is None else layer)
    first_end = (ids == part.tokenizer.special_tokens.end).int().argmax(dim=1)
    pooled = found.last_hidden_state[torch.arange(len(chunks)), first_end]
    if hasattr(module, "text_projection"):
        pooled = module.get_submodule("text_projection")(pooled)
    return hidden.float().cpu(), pooled.float().cpu()


@contextmanager
def _with_vectors(module: nn.Module, chunks: Chunks) -> Iterator[None]:
    """Put the vectors of embeddings in the places of the words that they stand for."""
    places = [
        (row, column, token.vector)
        for row, chunk in enumerate(chunks)
        for column, token in enumerate(chunk)
        if token.vector is not None
    ]

    def put(_module: nn.Module, _inputs: Any, words: Tensor) -> Tensor:
        words = words.clone()
        for row, column, vector in places:
            words[row, column] = vector.to(words)
        return words

    table: nn.Module = module.get_input_embeddings()  # type: ignore[operator]
    hook = table.register_forward_hook(put) if places else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _hidden(part: TextEncoder, network: nn.Module, found: Any, layer: int) -> Tensor:
    """The output of a layer counted from the end; of the last where there is no such layer."""
    layers: tuple[Tensor, ...] = found.hidden_states
    last: Tensor = found.last_hidden_state
    place = min(layer + part.dropped, -1)
    if -place >= len(layers) or (place == -1 and part.final_norm):
        return last
    if not part.final_norm:
        return layers[place]
    normed: Tensor = network.get_submodule("final_layer_norm")(layers[place])
    return normed


def _nested(module: nn.Module) -> bool:
    """Whether the encoder proper lies one deeper, as beside a projection."""
    return any(name == "text_model" for name, _ in module.named_children())


def _weighted(hidden: Tensor, empty: Tensor, chunks: Chunks) -> Tensor:
    weights = torch.tensor([[token.weight for token in chunk] for chunk in chunks])
    return (hidden - empty) * weights[:, :, None] + empty
