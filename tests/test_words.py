"""The project's words: names and phrases that readers stumbled over stay out.

CONTRIBUTING.md has the table of words to use instead.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

# The demo model's world has houses and places, as training/ has.
EXEMPT = ("tests/training/",)
CODE = ("engine", "diffusion", "nodes", "web", "console", "bench", "tests")


def is_done(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return not name.startswith(EXEMPT) and "goldens" not in path.parts and path != Path(__file__)


FILES = sorted(
    path
    for path in (
        *(path for folder in CODE for path in (ROOT / folder).rglob("*.py")),
        *(ROOT / name for name in ("__init__.py", "__main__.py", "cli.py", "server.py")),
    )
    if is_done(path)
)
PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "graphs").glob("*"))
    if path.suffix in (".md", ".yaml") and is_done(path)
)

BANNED_NAMES = frozenset({
    "found", "each", "place", "places", "way", "ways", "told", "tells", "kept", "here", "facts",
    "beside", "whole", "wide", "knob", "knobs", "ending", "endings", "picture", "pictures",
})  # fmt: skip
BANNED_PARTS = frozenset({
    "told", "picture", "pictures", "knob", "knobs", "most", "longest", "deepest", "kin", "halves",
    "hole", "holes", "house", "flights", "beside",
})  # fmt: skip
BANNED_PHRASES = {
    "is no X": r"(?<!here )(?<!there )\b(?:is|are) no (?!longer\b|more\b|less\b|fewer\b)[a-z]",
    "is told": r"\b(?:is|are|was|were|be) told\b",
    "of ComfyUI's": r"\bof ComfyUI['’]s\b",
    "is known to": r"\b(?:is|are) known to\b",
    "picture": r"\b[Pp]ictures?\b(?![- ]book)",
    "a text": r"\b[Aa] text(?! (?:encoder|file|encoding|chunk|output|field|node|prompt|box))\b",
    "wants": r"\bwants\b",
    "hardly": r"\bhardly\b",
}


def is_upper_limit(name: str) -> bool:
    return bool(re.match(r"_?(MOST|LONGEST|DEEPEST|LARGEST|LEAST|SMALLEST|SHORTEST)(_|$)", name))


def parts_of(name: str) -> set[str]:
    """The words of an identifier: `most_bytes` and `MostBytes` give most and bytes."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    yield from tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)


def banned_names(path: Path) -> Iterator[str]:
    for token in tokens(path):
        name = token.string
        if token.type != tokenize.NAME:
            continue
        is_banned = name.strip("_") in BANNED_NAMES or is_upper_limit(name)
        if is_banned or (parts_of(name) & BANNED_PARTS and not name.startswith("test_")):
            yield f"{path.relative_to(ROOT)}:{token.start[0]}: {name}"


def phrases_in(text: str) -> Iterator[tuple[str, str]]:
    for name, pattern in BANNED_PHRASES.items():
        for match in re.finditer(pattern, text):
            yield name, text[max(0, match.start() - 30) : match.end() + 30].replace("\n", " ")


def banned_phrases(path: Path) -> Iterator[str]:
    for token in tokens(path):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            for name, excerpt in phrases_in(token.string):
                yield f"{path.relative_to(ROOT)}:{token.start[0]}: {name}: ...{excerpt}..."


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc:
                yield getattr(node, "lineno", 1), doc


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_the_fields(path: Path) -> None:
    assert list(banned_names(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_strings_and_comments_read_as_english(path: Path) -> None:
    assert list(banned_phrases(path)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_say_what_a_thing_returns_or_does(path: Path) -> None:
    openings = [
        f"{path.relative_to(ROOT)}:{line}: {doc.splitlines()[0]}"
        for line, doc in docstrings(path)
        if doc.startswith(("What ", "Which ", "Where ", "Whether ", "How "))
    ]
    assert openings == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_read_as_english(path: Path) -> None:
    assert list(phrases_in(path.read_text("utf-8"))) == []
