"""Prompts: weights in brackets, and tokens packed into chunks.

`(x)` weighs x by 1.1, `(x:1.3)` sets 1.3, brackets nest, `\\(` and `\\)` are plain brackets.
Square brackets mean nothing. The rules are ComfyUI's.
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
CHUNK = 77
SHORT = 8
MAX_LENGTH = 65_536
MAX_DEPTH = 64
IDENTIFIER = "embedding:"
EMBEDDED = -1
_OPEN, _CLOSE = "\0o", "\0c"


class Token(NamedTuple):
    """A token's number and its weight; an embedding's vector takes the place of a number."""

    id: int
    weight: float
    vector: Vector | None = None


class SpecialTokens(NamedTuple):
    """The special tokens of a tokenizer."""

    start: int
    end: int
    pad: int


def parse_weights(text: str) -> list[tuple[str, float]]:
    """A prompt as pieces with their weights, in order.

    >>> parse_weights("a (red:1.3) ((fox))")
    [('a ', 1.0), ('red', 1.3), (' ', 1.0), ('fox', 1.2100000000000002)]

    Raises:
        PromptError: it is longer than LONGEST characters or nested deeper than DEEPEST.
    """
    if len(text) > MAX_LENGTH:
        raise PromptError(f"the prompt has {len(text)} characters; at most {MAX_LENGTH} are read")
    hidden = text.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    found: list[tuple[str, float]] = []
    waiting = [(part, 1.0, 0) for part in reversed(_top_level(hidden))]
    while waiting:
        part, weight, depth = waiting.pop()
        if not _is_group(part):
            found.append((_shown(part), weight))
            continue
        if depth == MAX_DEPTH:
            raise PromptError(f"the prompt has brackets nested deeper than {MAX_DEPTH}")
        inner, weight = _open(part, weight)
        waiting += [(piece, weight, depth + 1) for piece in reversed(_top_level(inner))]
    return found


def _top_level(text: str) -> list[str]:
    """The text cut before and after each outermost bracketed group; unbalanced text stays."""
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


def _open(group: str, weight: float) -> tuple[str, float]:
    """What is in a group, and its weight."""
    inner = group[1:-1]
    colon = inner.rfind(":")
    if colon > 0:
        try:
            return inner[:colon], float(inner[colon + 1 :])
        except ValueError:
            pass
    return inner, weight * EMPHASIS


def _shown(part: str) -> str:
    return part.replace(_CLOSE, ")").replace(_OPEN, "(")


def pack(pieces: Iterable[Sequence[Token]], marks: SpecialTokens) -> list[list[Token]]:
    """Tokens in chunks of 77, each with its start and end marks.

    A piece of fewer than 8 tokens that does not fit starts a new chunk; a longer one is cut.
    """
    start, end, pad = (Token(mark, 1.0) for mark in marks)
    chunks: list[list[Token]] = []
    current = [start]
    for piece in pieces:
        rest = list(piece)
        is_long = len(rest) >= SHORT
        while rest:
            room = CHUNK - 1 - len(current)
            if len(rest) <= room:
                current += rest
                break
            if is_long:
                current += rest[:room]
                rest = rest[room:]
            chunks.append(_filled([*current, end], pad))
            current = [start]
    return [*chunks, _filled([*current, end], pad)]


def _filled(chunk: list[Token], pad: Token) -> list[Token]:
    return chunk + [pad] * (CHUNK - len(chunk))


def tokenize(
    text: str, encode: Encode, marks: SpecialTokens, embedding: Embedding | None = None
) -> list[list[Token]]:
    """A prompt as chunks of weighted tokens.

    Args:
        encode: text -> token numbers without marks.
        embedding: name -> vectors of an embedding, None where there is none of that name; it is
            then left out, as it is everywhere without this function.

    Raises:
        PromptError: the prompt is too long.
    """
    find = embedding or _no_embedding
    pieces: list[list[Token]] = []
    for segment, weight in parse_weights(text):
        for name, rest in split_embeddings(segment):
            vectors, rest = _named(name, rest, find) if name else (None, rest)
            if vectors is not None:
                pieces.append([Token(EMBEDDED, weight, vector) for vector in vectors])
            if rest or not name:
                pieces.append([Token(id, weight) for id in encode(rest)])
    return pack(pieces, marks)


def find_embedding_names(text: str) -> set[str]:
    """The names of embeddings that a prompt may mean, with and without commas at their ends.

    Raises:
        PromptError: the prompt is too long.
    """
    names = {name for part, _ in parse_weights(text) for name, _ in split_embeddings(part) if name}
    return names | {name.rstrip(",") for name in names}


def split_embeddings(segment: str) -> list[tuple[str, str]]:
    """A segment before each word that begins with `embedding:`, as (name or "", the rest).

    >>> split_embeddings("a, embedding:style, b")
    [('', 'a,'), ('style,', 'b')]
    """
    first, *others = re.split(f"[ \n]{IDENTIFIER}", segment)
    if first.startswith(IDENTIFIER):
        others, first = [first.removeprefix(IDENTIFIER), *others], ""
    found = [("", first)] if first else []
    for other in others:
        name, _, rest = " ".join(other.split()).partition(" ")
        found.append((name, rest))
    return found


def _named(name: str, rest: str, find: Embedding) -> tuple[Sequence[Vector] | None, str]:
    """The vectors that a name means, and the text after it.

    Commas at the end of a name that means nothing with them are text.
    """
    vectors, bare = find(name), name.rstrip(",")
    if vectors is not None or bare == name:
        return vectors, rest
    return find(bare), f"{name[len(bare) :]} {rest}".strip()


def _no_embedding(_name: str) -> None:
    return None
