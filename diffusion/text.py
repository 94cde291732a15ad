"""Text encoding: prompt -> conditioning, with weights, long prompts and earlier layers."""

from __future__ import annotations

import torch
from torch import Tensor

from .conditioning import Conditioning, Entry
from .handles import Clip
from .prompt import Token, tokenize


def encode_text(clip: Clip, text: str) -> Conditioning:
    """Encode a prompt.

    Chunks of 77 tokens are encoded apart and joined. A weight moves a token's encoding away from
    that of the empty prompt at its place, without renormalising.

    Returns:
        One entry: tokens 1×77k×d, pooled 1×d of the first chunk at its first end mark.

    Raises:
        PromptError: the prompt cannot be read.
    """
    tokenizer = clip.weights.tokenizer
    encode, marks = tokenizer.encode, tokenizer.marks
    chunks = tokenize(text, encode, marks)
    weighted = any(token.weight != 1.0 for chunk in chunks for token in chunk)
    empty = tokenize("", encode, marks) if weighted else []
    with clip.weights.computing(clip.patches):
        hidden, pooled = _encode_chunks(clip, [*chunks, *empty], marks.end)
        if weighted:
            hidden = _weighted(hidden[:-1], hidden[-1:], chunks)
        tokens = hidden.reshape(1, -1, hidden.shape[-1])
    return (Entry(tokens.clone(), pooled[:1].clone()),)


def _encode_chunks(clip: Clip, chunks: list[list[Token]], end: int) -> tuple[Tensor, Tensor]:
    """k×77×d of the handle's layer, and k×d pooled."""
    module = clip.weights.module
    ids = torch.tensor([[token.id for token in chunk] for chunk in chunks])
    found = module(ids.to(clip.weights.device), output_hidden_states=True)
    layers = found.hidden_states
    hidden = found.last_hidden_state
    if 1 < -clip.layer < len(layers):
        hidden = module.get_submodule(_final_norm(module))(layers[clip.layer])
    first_end = (ids == end).int().argmax(dim=1)
    pooled = found.last_hidden_state[torch.arange(len(chunks)), first_end]
    return hidden.float().cpu(), pooled.float().cpu()


def _final_norm(module: torch.nn.Module) -> str:
    """The final layer norm; some versions of transformers nest the network once more."""
    names = {name for name, _ in module.named_modules()}
    return "final_layer_norm" if "final_layer_norm" in names else "text_model.final_layer_norm"


def _weighted(hidden: Tensor, empty: Tensor, chunks: list[list[Token]]) -> Tensor:
    weights = torch.tensor([[token.weight for token in chunk] for chunk in chunks])
    return (hidden - empty) * weights[:, :, None] + empty
