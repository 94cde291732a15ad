"""Prompts: parse weights in parentheses, and pack tokens into chunks.

`(x)` multiplies the weight of x by 1.1, `(x:1.3)` sets it to 1.3. Parentheses nest; `\\(` and
`\\)` are literal. Square brackets have no meaning. These rules are ComfyUI's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..errors import PromptError

if TYPE_CHECKING:
    from torch import Tensor

Vector: TypeAlias = "Tensor"
Encode = Callable[[str], Sequence[int]]
Embedding = Callable[[str], "Sequence[Vector] | None"]

EMPHASIS = 1.1
CHUNK_TOKENS = 77
MIN_SPLIT_TOKENS = 8
MAX_LENGTH = 65_536
MAX_DEPTH = 64
# Years and sizes in parentheses are read as weights; far beyond them, encodings overflow.
MAX_WEIGHT = 10_000.0
EMBEDDING_PREFIX = "embedding:"
EMBEDDING_ID = -1
_OPEN, _CLOSE = "\0o", "\0c"


class Token(NamedTuple):
    """A token id and its weight; a vector of an embedding replaces the id."""

    id: int
    weight: float
    vector: Vector | None = None


class SpecialTokens(NamedTuple):
    """The special tokens of a tokenizer."""

    start: int
    end: int
    pad: int


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Split a prompt into pieces with their weights, in order.

    >>> parse_weights("a (red:1.3) ((fox))")
    [('a ', 1.0), ('red', 1.3), (' ', 1.0), ('fox', 1.2100000000000002)]

    Raises:
        PromptError: it is longer than MAX_LENGTH characters, nested deeper than MAX_DEPTH, or
            has a weight beyond MAX_WEIGHT.
    """
    if len(text) > MAX_LENGTH:
        raise PromptError(f"prompt: expected at most {MAX_LENGTH} characters, got {len(text)}")
    escaped = text.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    pieces: list[tuple[str, float]] = []
    stack = [(part, 1.0, 0) for part in reversed(_split_groups(escaped))]
    while stack:
        part, weight, depth = stack.pop()
        if not _is_group(part):
            pieces.append((_unescape(part), weight))
            continue
        if depth == MAX_DEPTH:
            raise PromptError(f"prompt: parentheses are nested deeper than {MAX_DEPTH}")
        inner, weight = _open_group(part, weight)
        stack += [(piece, weight, depth + 1) for piece in reversed(_split_groups(inner))]
    return pieces


def _split_groups(text: str) -> list[str]:
    """Split before and after each outermost group in parentheses; unbalanced ones stay."""
    parts: list[str] = []
    begin, depth = 0, 0
    for index, character in enumerate(text):
        if character == "(":
            if depth == 0 and index > begin:
                parts.append(text[begin:index])
                begin = index
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[begin : index + 1])
                begin = index + 1
    return [*parts, text[begin:]] if begin < len(text) else parts


def _is_group(part: str) -> bool:
    return len(part) >= 2 and part[0] == "(" and part[-1] == ")"


def _open_group(group: str, weight: float) -> tuple[str, float]:
    """Return the content of a group, and its weight."""
    inner = group[1:-1]
    colon = inner.rfind(":")
    if colon > 0:
        try:
            stated = float(inner[colon + 1 :])
        except ValueError:
            return inner, weight * EMPHASIS
        if not abs(stated) <= MAX_WEIGHT:
            problem = f"expected a weight up to {MAX_WEIGHT:g}, got {_unescape(group[-60:])}"
            raise PromptError(f"prompt: {problem}; write \\( and \\) for plain parentheses")
        return inner[:colon], stated
    return inner, weight * EMPHASIS


def _unescape(part: str) -> str:
    return part.replace(_CLOSE, ")").replace(_OPEN, "(")


def pack(pieces: Iterable[Sequence[Token]], special_tokens: SpecialTokens) -> list[list[Token]]:
    """Pack tokens into chunks of 77, each with its start and end token.

    A piece of fewer than 8 tokens that does not fit starts a new chunk; a longer one is split.
    """
    start, end, pad = (Token(token_id, 1.0) for token_id in special_tokens)
    chunks: list[list[Token]] = []
    current = [start]
    for piece in pieces:
        rest = list(piece)
        is_long = len(rest) >= MIN_SPLIT_TOKENS
        while rest:
            free = CHUNK_TOKENS - 1 - len(current)
            if len(rest) <= free:
                current += rest
                break
            if is_long:
                current += rest[:free]
                rest = rest[free:]
            chunks.append(_pad([*current, end], pad))
            current = [start]
    return [*chunks, _pad([*current, end], pad)]


def _pad(chunk: list[Token], pad: Token) -> list[Token]:
    return chunk + [pad] * (CHUNK_TOKENS - len(chunk))


def tokenize(
    text: str, encode: Encode, special_tokens: SpecialTokens, embedding: Embedding | None = None
) -> list[list[Token]]:
    """Return a prompt as chunks of weighted tokens.

    Args:
        encode: string -> token ids without special tokens.
        embedding: name -> vectors of an embedding, or None for an unknown name, which is left
            out. Without this function all embeddings are left out.

    Raises:
        PromptError: the prompt is too long.
    """
    return pack(split_pieces(text, encode, embedding), special_tokens)


def split_pieces(
    text: str, encode: Encode, embedding: Embedding | None = None
) -> list[list[Token]]:
    """Return the weighted tokens of a prompt, in pieces of one weight; see `tokenize`.

    Raises:
        PromptError: the prompt is too long.
    """
    find = embedding or _no_embedding
    pieces: list[list[Token]] = []
    for segment, weight in parse_weights(text):
        for name, rest in split_embeddings(segment):
            vectors, rest = _find_vectors(name, rest, find) if name else (None, rest)
            if vectors is not None:
                pieces.append([Token(EMBEDDING_ID, weight, vector) for vector in vectors])
            if rest or not name:
                pieces.append([Token(id, weight) for id in encode(rest)])
    return pieces


def find_embedding_names(text: str) -> set[str]:
    """Return the names of embeddings that a prompt may mean, with and without final commas.

    Raises:
        PromptError: the prompt is too long.
    """
    names = {name for part, _ in parse_weights(text) for name, _ in split_embeddings(part) if name}
    return names | {name.rstrip(",") for name in names}


def split_embeddings(segment: str) -> list[tuple[str, str]]:
    """Split a segment before each word with the prefix `embedding:`, as (name or "", rest).

    >>> split_embeddings("a, embedding:style, b")
    [('', 'a,'), ('style,', 'b')]
    """
    first, *others = re.split(f"[ \n]{EMBEDDING_PREFIX}", segment)
    if first.startswith(EMBEDDING_PREFIX):
        others, first = [first.removeprefix(EMBEDDING_PREFIX), *others], ""
    pieces = [("", first)] if first else []
    for other in others:
        name, _, rest = " ".join(other.split()).partition(" ")
        pieces.append((name, rest))
    return pieces


def _find_vectors(name: str, rest: str, find: Embedding) -> tuple[Sequence[Vector] | None, str]:
    """Return the vectors of an embedding, and the text after its name.

    If only the name without its final commas is known, the commas belong to the text.
    """
    vectors, bare = find(name), name.rstrip(",")
    if vectors is not None or bare == name:
        return vectors, rest
    return find(bare), f"{name[len(bare) :]} {rest}".strip()


def _no_embedding(_name: str) -> None:
    return None
