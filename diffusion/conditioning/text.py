"""Text encoding: prompt -> conditioning, with weights, long prompts and earlier layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import PromptError
from ..families.conditions import Sizes
from ..networks.finite import check_finite
from ..networks.handles import Clip
from ..networks.residency import retry_when_out_of_memory
from ..networks.weights import TextEncoder
from ..text.prompt import Token, tokenize
from ..text.recipes import Join
from ..weights.text_keys import KIND_BY_WIDTH, TextKind
from .conditioning import Conditioning, PromptEntry
from .embeddings import embedding_vectors
from .sequences import encode_sequence, replace_words

Chunks = list[list[Token]]
Encoded = tuple[Tensor, Tensor | None]
CLIP_KINDS = frozenset(KIND_BY_WIDTH.values())
T5_WIDTH = 4096


def encode_text(clip: Clip, text: str, sizes: Sizes | None = None) -> Conditioning:
    """Encode a prompt, as the recipe of its text encoders says.

    A weight moves a token's encoding away from that of the empty prompt at its position, without
    renormalising. CLIP encodes chunks of 77 tokens separately and joins them; if a model has
    several CLIPs, each encodes the prompt, and their encodings are concatenated. T5 and language
    models encode one sequence, within a template if their recipe has one.

    Returns:
        One entry: tokens 1×n×d; pooled 1×d of the first chunk of CLIP, if the recipe has it.

    Raises:
        PromptError: the prompt cannot be read.
    """
    return encode_prompts(clip, dict.fromkeys(clip.recipe.kinds, text), sizes)


def encode_prompts(
    clip: Clip, prompts: Mapping[TextKind, str], sizes: Sizes | None = None
) -> Conditioning:
    """Encode a prompt for each text encoder; shorter ones are padded with empty chunks.

    Raises:
        PromptError: a prompt cannot be read, or there is none for one of the encoders.
    """
    tokens, pooled = retry_when_out_of_memory(lambda: _encode_all(clip, prompts))
    # Clones, since tensors made in inference mode take no part in other arithmetic.
    pooled = None if pooled is None else pooled.clone()
    return (PromptEntry(tokens.clone(), pooled, sizes=sizes),)


def _encode_all(clip: Clip, prompts: Mapping[TextKind, str]) -> Encoded:
    with clip.weights.use(clip.patches):
        encoders = {encoder.kind: encoder for encoder in clip.weights.encoders}
        missing = encoders.keys() - prompts.keys()
        if missing:
            raise PromptError(
                f"expected prompts for the text encoders {', '.join(encoders)}, "
                f"got {', '.join(prompts)}"
            )
        clips = [encoder for encoder in encoders.values() if encoder.kind in CLIP_KINDS]
        sequences = [encoder for encoder in encoders.values() if encoder.kind not in CLIP_KINDS]
        device = clip.weights.device
        chunks = _encode_clips(clips, prompts, clip.layer, device) if clips else []
        sequence = [
            encode_sequence(encoder, clip.recipe, prompts[encoder.kind], device)
            for encoder in sequences
        ]
        return JOINS[clip.recipe.join](chunks, sequence)


def _encode_clips(
    encoders: Sequence[TextEncoder],
    prompts: Mapping[TextKind, str],
    layer: int | None,
    device: torch.device,
) -> list[tuple[Tensor, Tensor]]:
    """Return 1×77k×d and 1×d pooled of each CLIP; shorter prompts get empty chunks."""
    chunks = [_tokenize(encoder, prompts[encoder.kind]) for encoder in encoders]
    count = max(map(len, chunks))
    for encoder, own in zip(encoders, chunks, strict=True):
        own += _tokenize(encoder, "") * (count - len(own))
    pairs = zip(encoders, chunks, strict=True)
    return [_encode(encoder, own, layer, device) for encoder, own in pairs]


def _join_chunks(chunks: Sequence[tuple[Tensor, Tensor]], _sequence: Sequence[Tensor]) -> Encoded:
    """Return the encodings of CLIPs side by side, and the pooled one of the last."""
    return torch.cat([tokens for tokens, _ in chunks], dim=-1), chunks[-1][1]


def _join_pooled(chunks: Sequence[tuple[Tensor, Tensor]], sequence: Sequence[Tensor]) -> Encoded:
    """Return the sequence, and the pooled encoding of CLIP."""
    return sequence[0], chunks[0][1]


def _join_sd3(chunks: Sequence[tuple[Tensor, Tensor]], sequence: Sequence[Tensor]) -> Encoded:
    """Return both CLIPs side by side, padded to T5's width, then T5; and both pooled encodings."""
    parts = list(sequence)
    pooled = None
    if chunks:
        tokens = torch.cat([tokens for tokens, _ in chunks], dim=-1)
        parts.insert(0, functional.pad(tokens, (0, T5_WIDTH - tokens.shape[-1])))
        pooled = torch.cat([pooled for _, pooled in chunks], dim=-1)
    return torch.cat(parts, dim=1), pooled


def _join_sequence(_chunks: Sequence[tuple[Tensor, Tensor]], sequence: Sequence[Tensor]) -> Encoded:
    return sequence[0], None


JOINS: Mapping[Join, Callable[[Sequence[tuple[Tensor, Tensor]], Sequence[Tensor]], Encoded]] = {
    "chunks": _join_chunks, "pooled_l": _join_pooled, "sd3": _join_sd3,
    "sequence": _join_sequence,
}  # fmt: skip


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
    with replace_words(module, chunks):
        output = network(ids.clamp(min=0).to(device), output_hidden_states=True)
    hidden = _select_layer(encoder, network, output, encoder.layer if layer is None else layer)
    first_end = (ids == encoder.tokenizer.special_tokens.end).int().argmax(dim=1)
    pooled = output.last_hidden_state[torch.arange(len(chunks)), first_end]
    if encoder.is_projected and hasattr(module, "text_projection"):
        pooled = module.get_submodule("text_projection")(pooled)
    check_finite(f"the text encoder {encoder.kind}", hidden, pooled)
    return hidden.float().cpu(), pooled.float().cpu()


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
