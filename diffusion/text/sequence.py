"""Tokens of a prompt for T5 and language models, in one sequence."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PromptError
from .prompt import MAX_LENGTH, Embedding, Encode, SpecialTokens, Token, split_pieces
from .recipes import TextRecipe

# Attention holds numbers for each pair of tokens.
MAX_TOKENS = 4096
# The opening of a turn in Qwen's templates, and of a turn of the user.
TURN, USER = 151644, (872, 198)


def tokenize_sequence(
    text: str,
    recipe: TextRecipe,
    encode: Encode,
    special_tokens: SpecialTokens,
    embedding: Embedding | None = None,
) -> list[Token]:
    """Return a prompt, in its template, as weighted tokens, padded as its recipe says.

    Args:
        encode: string -> token ids without special tokens.
        embedding: name -> vectors of an embedding, or None for an unknown name.

    Raises:
        PromptError: the prompt is too long.
    """
    if len(text) > MAX_LENGTH:
        raise PromptError(f"prompt: expected at most {MAX_LENGTH} characters, got {len(text)}")
    if recipe.is_weighted:
        tokens = [token for piece in split_pieces(text, encode, embedding) for token in piece]
    else:
        tokens = [Token(id, 1.0) for id in encode(_fill(recipe.template, text))]
    if recipe.has_end:
        tokens.append(Token(special_tokens.end, 1.0))
    if len(tokens) > MAX_TOKENS:
        raise PromptError(f"prompt: expected at most {MAX_TOKENS} tokens, got {len(tokens)}")
    return tokens + [Token(special_tokens.pad, 1.0)] * (recipe.min_tokens - len(tokens))


def make_empty(length: int, recipe: TextRecipe, special_tokens: SpecialTokens) -> list[Token]:
    """Return an empty prompt of a length, which weights are measured from."""
    has_end = recipe.has_end and recipe.empty_has_end
    end = [Token(special_tokens.end, 1.0)] if has_end else []
    return (end + [Token(special_tokens.pad, 1.0)] * length)[:length]


def _fill(template: str, text: str) -> str:
    """Return the prompt in its template; a prompt that has one already stays as it is."""
    return text if text.startswith("<|im_start|>") else template.replace("{}", text)


def find_prompt_start(ids: Sequence[int]) -> int:
    """Return the index of the first token after the system turn and the user's opening."""
    turns = [index for index, id in enumerate(ids) if id == TURN][:2]
    if not turns:
        return 0
    start = turns[-1]
    opens_user = tuple(ids[start + 1 : start + 3]) == USER
    return start + 3 if opens_user and len(ids) > start + 3 else start
