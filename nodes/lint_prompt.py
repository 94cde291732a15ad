"""Lint rules about prompts: syntax of other programs, and embeddings that are not installed.

CLIP's nodes read `(x:1.2)` and `embedding:name`. They encode everything else as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from latentloom.engine.errors import did_you_mean
from latentloom.engine.graph.lint import Finding, NodeView, rule

# The prompts of each node that encodes text.
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": ("text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("text",),
}
MAX_SHOWN = 40


class ForeignSyntax(NamedTuple):
    """A form that other programs read, and that is plain text here.

    Attributes:
        pattern: finds what may be of this form, in time linear in the prompt.
        hint: what to do instead.
        is_meant: whether a match is of this form.
    """

    pattern: re.Pattern[str]
    hint: str
    is_meant: Callable[[re.Match[str]], bool] = lambda _: True


def _is_scheduled(match: re.Match[str]) -> bool:
    return "|" in match[1] or re.search(r":\s*\d*\.?\d+\s*$", match[1]) is not None


def _is_choice(match: re.Match[str]) -> bool:
    return "|" in match[1]


def _has_lower_case(match: re.Match[str]) -> bool:
    """In a prompt that is all in upper case, AND is a word."""
    return any(character.islower() for character in match.string)


FOREIGN = (
    ForeignSyntax(
        re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE),
        "LoraLoader before the text encoder, and the prompt without it",
    ),
    ForeignSyntax(
        re.compile(r"\bBREAK\b"), "a CLIPTextEncode for each part, and ConditioningConcat"
    ),
    ForeignSyntax(
        re.compile(r"\bAND\b"),
        "a CLIPTextEncode for each part, and ConditioningCombine; or `and` as a word",
        _has_lower_case,
    ),
    ForeignSyntax(
        re.compile(r"(?<!\\)\[([^\[\]]*)\]"),
        "a CLIPTextEncode for each part, ConditioningSetTimestepRange and ConditioningCombine",
        _is_scheduled,
    ),
    ForeignSyntax(
        re.compile(r"(?<!\\)\[([^\[\]]+)\]"),
        "(word:0.9) for less weight",
        lambda match: not _is_scheduled(match),
    ),
    ForeignSyntax(re.compile(r"__[\w/*-]+?__"), "the words themselves, one run for each choice"),
    ForeignSyntax(
        re.compile(r"(?<!\\)\{([^{}]*)\}"),
        "one of the choices; ComfyUI's editor replaces them before it sends a graph",
        _is_choice,
    ),
)


@rule(*PROMPTS)
def foreign_prompt_syntax(node: NodeView) -> Iterator[Finding]:
    """A1111 and extensions read more syntax in a prompt."""
    for port, text in _prompts(node):
        for syntax in FOREIGN:
            match = next(filter(syntax.is_meant, syntax.pattern.finditer(text)), None)
            if match is not None:
                shown = match[0] if len(match[0]) <= MAX_SHOWN else f"{match[0][:MAX_SHOWN]}..."
                yield Finding(port, f"{shown!r} is encoded as plain text", syntax.hint)


@rule(*PROMPTS)
def embedding_missing(node: NodeView) -> Iterator[Finding]:
    """An embedding that is not installed is left out."""
    for port, text in _prompts(node):
        for name in _missing_embeddings(text):
            installed = _embedding_names()
            yield Finding(
                port,
                f"there is no embedding {name[:MAX_SHOWN]!r}; the prompt is encoded without it",
                did_you_mean(name, installed) or "put its file into models/embeddings",
            )


def _prompts(node: NodeView) -> Iterator[tuple[str, str]]:
    """Yield the prompts of a node that are known before the run, also from a PrimitiveString."""
    for port in PROMPTS[node.type]:
        value, origin = node[port], node.origin(port)
        if origin is not None and origin.type == "PrimitiveString":
            value = origin["value"]
        if isinstance(value, str):
            yield port, value


def _missing_embeddings(text: str) -> list[str]:
    """Return the names of embeddings in a prompt that are not installed, without final commas."""
    if "embedding:" not in text:
        return []
    from latentloom.diffusion.errors import ModelFileError, PromptError
    from latentloom.diffusion.text.prompt import parse_weights, split_embeddings
    from latentloom.diffusion.weights.folders import find_embedding

    try:
        parts = [split_embeddings(part) for part, _ in parse_weights(text)]
        names = dict.fromkeys(name for part in parts for name, _ in part if name)
        return [
            name.rstrip(",")
            for name in names
            if find_embedding(name) is None and find_embedding(name.rstrip(",")) is None
        ]
    except (PromptError, ModelFileError):
        return []  # an error of its own


def _embedding_names() -> list[str]:
    from latentloom.diffusion.weights.folders import list_models

    return [name.rpartition(".")[0] for name in list_models("embeddings")]
