"""Text encoding: prompt -> conditioning, with weights, long prompts and earlier layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PromptError
from ..networks.finite import check_finite
from ..networks.handles import Clip
from ..networks.residency import retry_when_out_of_memory
from ..networks.weights import TextEncoder
from ..text.prompt import Token, tokenize
from ..weights.text_keys import TextKind
from .conditioning import Conditioning, PromptEntry, Sizes
from .embeddings import embedding_vectors

Chunks = list[list[Token]]


def encode_text(clip: Clip, text: str, sizes: Sizes | None = None) -> Conditioning:
    """Encode a prompt.

    Chunks of 77 tokens are encoded separately and joined. A weight moves a token's encoding away
    from that of the empty prompt at its position, without renormalising. If a model has several
    text encoders, each encodes the prompt, and their encodings are concatenated.

    Returns:
        One entry: tokens 1×77k×d, pooled 1×d of the last encoder's first chunk.

    Raises:
        PromptError: the prompt cannot be read.
    """
    return encode_prompts(clip, {part.kind: text for part in clip.weights.encoders}, sizes)


def encode_prompts(
    clip: Clip, prompts: Mapping[TextKind, str], sizes: Sizes | None = None
) -> Conditioning:
    """Encode a prompt for each text encoder; shorter ones are padded with empty chunks.

    Raises:
        PromptError: a prompt cannot be read, or there is none for one of the encoders.
    """
    tokens, pooled = retry_when_out_of_memory(lambda: _encode_all(clip, prompts))
    # Clones, since tensors made in inference mode take no part in other arithmetic.
    return (PromptEntry(tokens.clone(), pooled.clone(), sizes=sizes),)


def _encode_all(clip: Clip, prompts: Mapping[TextKind, str]) -> tuple[Tensor, Tensor]:
    """Return 1×77k×d of all encoders, concatenated, and 1×d pooled of the last."""
    weights = clip.weights
    with weights.use(clip.patches):
        encoders = weights.encoders
        missing = [encoder.kind for encoder in encoders if encoder.kind not in prompts]
        if missing:
            expected = ", ".join(encoder.kind for encoder in encoders)
            raise PromptError(
                f"expected prompts for the text encoders {expected}, got {', '.join(prompts)}"
            )
        chunks = [_tokenize(encoder, prompts[encoder.kind]) for encoder in encoders]
        count = max(map(len, chunks))
        for encoder, own in zip(encoders, chunks, strict=True):
            own += _tokenize(encoder, "") * (count - len(own))
        encodings = [
            _encode(encoder, own, clip.layer, weights.device)
            for encoder, own in zip(encoders, chunks, strict=True)
        ]
        return torch.cat([tokens for tokens, _ in encodings], dim=-1), encodings[-1][1]


def _tokenize(encoder: TextEncoder, prompt: str) -> Chunks:
    words: nn.Embedding = encoder.module.get_input_embeddings()  # type: ignore[operator]
    find = partial(embedding_vectors, kind=encoder.kind, width=words.embedding_dim)
    return tokenize(prompt, encoder.tokenizer.encode, encoder.tokenizer.special_tokens, find)


def _encode(
    encoder: TextEncoder, chunks: Chunks, layer: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return 1×77k×d of one encoder, and 1×d pooled at the first end mark of the first chunk."""
    is_weighted = any(token.weight != 1.0 for chunk in chunks for token in chunk)
    empty = _tokenize(encoder, "") if is_weighted else []
    hidden, pooled = _encode_chunks(encoder, [*chunks, *empty], layer, device)
    if is_weighted:
        hidden = _apply_weights(hidden[:-1], hidden[-1:], chunks)
    return hidden.reshape(1, -1, hidden.shape[-1]), pooled[:1]


def _encode_chunks(
    encoder: TextEncoder, chunks: Chunks, layer: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return k×77×d of a layer, and k×d pooled."""
    module = encoder.module
    ids = torch.tensor([[token.id for token in chunk] for chunk in chunks])
    network = module.get_submodule("text_model") if _has_text_model(module) else module
    with _replace_words(module, chunks):
        output = network(ids.clamp(min=0).to(device), output_hidden_states=True)
    hidden = _select_layer(encoder, network, output, encoder.layer if layer is None else layer)
    first_end = (ids == encoder.tokenizer.special_tokens.end).int().argmax(dim=1)
    pooled = output.last_hidden_state[torch.arange(len(chunks)), first_end]
    if hasattr(module, "text_projection"):
        pooled = module.get_submodule("text_projection")(pooled)
    check_finite(f"the text encoder {encoder.kind}", hidden, pooled)
    return hidden.float().cpu(), pooled.float().cpu()


@contextmanager
def _replace_words(module: nn.Module, chunks: Chunks) -> Iterator[None]:
    """Replace the words that stand for embeddings by their vectors."""
    vectors = [
        (row, column, token.vector)
        for row, chunk in enumerate(chunks)
        for column, token in enumerate(chunk)
        if token.vector is not None
    ]

    def put(_module: nn.Module, _inputs: Any, words: Tensor) -> Tensor:
        words = words.clone()
        for row, column, vector in vectors:
            words[row, column] = vector.to(words)
        return words

    table: nn.Module = module.get_input_embeddings()  # type: ignore[operator]
    hook = table.register_forward_hook(put) if vectors else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _select_layer(encoder: TextEncoder, network: nn.Module, output: Any, layer: int) -> Tensor:
    """Return the output of a layer counted from the end; of the last if there is no such layer."""
    layers: tuple[Tensor, ...] = output.hidden_states
    last: Tensor = output.last_hidden_state
    index = min(layer + encoder.dropped, -1)
    if -index >= len(layers) or (index == -1 and encoder.final_norm):
        return last
    if not encoder.final_norm:
        return layers[index]
    normed: Tensor = network.get_submodule("final_layer_norm")(layers[index])
    return normed


def _has_text_model(module: nn.Module) -> bool:
    """Return whether the encoder is a submodule, as in classes with a projection."""
    return any(name == "text_model" for name, _ in module.named_children())


def _apply_weights(hidden: Tensor, empty: Tensor, chunks: Chunks) -> Tensor:
    weights = torch.tensor([[token.weight for token in chunk] for chunk in chunks])
    return (hidden - empty) * weights[:, :, None] + empty
