"""Encoding of a prompt as one sequence, by T5 or a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PromptError
from ..images.vision_patches import MERGE, VisionPatches, image_positions
from ..networks.finite import check_finite
from ..networks.weights import TextEncoder
from ..text.prompt import EMBEDDING_ID, Token
from ..text.recipes import IMAGE_WORD, LAST, TextRecipe
from ..text.sequence import MAX_TOKENS, find_prompt_start, make_empty, tokenize_sequence
from .embeddings import embedding_vectors


def encode_sequence(
    encoder: TextEncoder,
    recipe: TextRecipe,
    prompt: str,
    device: torch.device,
    images: Sequence[VisionPatches] = (),
) -> Tensor:
    """Encode a prompt.

    Args:
        images: the first words IMAGE_WORD of the prompt or its template stand for them.

    Returns:
        1×n×d float32, the layers of the recipe side by side.

    Raises:
        PromptError: the prompt cannot be read, or there are images and the text encoder has no
            vision tower.
    """
    words: nn.Embedding = encoder.module.get_input_embeddings()  # type: ignore[operator]
    find = partial(embedding_vectors, kind=encoder.kind, width=words.embedding_dim)
    special_tokens = encoder.tokenizer.special_tokens
    tokens = tokenize_sequence(prompt, recipe, encoder.tokenizer.encode, special_tokens, find)
    tokens, positions = _insert_images(encoder, tokens, images, device)
    weights = torch.tensor([token.weight for token in tokens])
    is_weighted = bool((weights != 1.0).any())
    empty = [make_empty(len(tokens), recipe, special_tokens)] if is_weighted else []
    hidden = _encode_rows(encoder, recipe, [tokens, *empty], device, positions)
    if is_weighted:
        hidden = (hidden[:1] - hidden[1:]) * weights[None, :, None] + hidden[1:]
    start = find_prompt_start([token.id for token in tokens]) if recipe.skips_system_turn else 0
    return hidden[:, start:]


def _insert_images(
    encoder: TextEncoder,
    tokens: list[Token],
    images: Sequence[VisionPatches],
    device: torch.device,
) -> tuple[list[Token], Tensor | None]:
    """Return the tokens with those of images in place of their words, and positions 3×1×n.

    Positions are None without images: the text encoder counts.
    """
    if not images:
        return tokens, None
    module: Any = encoder.module
    if not hasattr(module, "visual"):
        raise PromptError("the text encoder has no vision tower, which prompts with images need")
    grids = torch.tensor([[1, image.rows, image.columns] for image in images])
    pixels = torch.cat([image.pixels for image in images]).to(device)
    features = module.get_image_features(pixels, grids.to(device), return_dict=True).pooler_output
    (word,) = encoder.tokenizer.encode(IMAGE_WORD)
    rest, sequence, positions, next_position = [*zip(images, features, strict=True)], [], [], 0
    for token in tokens:
        if token.id != word or not rest:
            sequence.append(token)
            positions.append(torch.full((3, 1), next_position))
            next_position += 1
            continue
        image, vectors = rest.pop(0)
        shape = (image.rows // MERGE, image.columns // MERGE)
        sequence += [Token(EMBEDDING_ID, 1.0, vector) for vector in vectors]
        positions.append(image_positions(shape, next_position))
        next_position += max(shape)
    if len(sequence) > MAX_TOKENS:
        raise PromptError(f"prompt: expected at most {MAX_TOKENS} tokens, got {len(sequence)}")
    return sequence, torch.cat(positions, dim=1)[:, None].to(device)


def _encode_rows(
    encoder: TextEncoder,
    recipe: TextRecipe,
    rows: Sequence[Sequence[Token]],
    device: torch.device,
    positions: Tensor | None,
) -> Tensor:
    """Return rows×n×d of the recipe's layers."""
    options = {} if positions is None else {"position_ids": positions}
    ids = torch.tensor([[token.id for token in row] for row in rows])
    pad = encoder.tokenizer.special_tokens.pad
    # What follows padding counts as padding, even if the prompt itself has a padding token.
    mask = (ids != pad).long().cumprod(dim=1).to(device) if recipe.is_masked else None
    with replace_words(encoder.module, rows):
        output: Any = encoder.module(
            input_ids=ids.clamp(min=0).to(device),
            attention_mask=mask,
            output_hidden_states=any(layer != LAST for layer in recipe.layers),
            **options,
        )
    layers: list[Tensor] = [
        output.last_hidden_state if layer == LAST else output.hidden_states[layer]
        for layer in recipe.layers
    ]
    hidden = torch.cat(layers, dim=-1)
    check_finite(f"the text encoder {encoder.kind}", hidden)
    return hidden.float().cpu()


@contextmanager
def replace_words(module: nn.Module, chunks: Sequence[Sequence[Token]]) -> Iterator[None]:
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
