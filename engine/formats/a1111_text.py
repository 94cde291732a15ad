"""The text `parameters` that A1111, Forge and others write into images: prompts and settings.

    a red boat, <lora:harbour:0.8>
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512, Model: boats

Values of settings may be quoted as in JSON, or be JSON, with commas inside. Reading takes time
linear in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import FormatError
from .parsing import MAX_BYTES

SETTINGS = re.compile(r"^\s{0,20}Steps:\s{0,20}\d+\s{0,20}(?:,|$)")
NEGATIVE = "Negative prompt:"
KEY = re.compile(r"\s*([A-Za-z][\w .\-/+()]{0,79}):\s*")
NETWORK = re.compile(r"<([A-Za-z]{1,20}):([^<>:\n]{1,200})((?::[^<>:\n]{0,40}){0,5})>")
LESS = 1 / 1.1
"""The weight that one pair of square brackets gives."""


class Network(NamedTuple):
    """A network that a prompt names: `<lora:name:0.8>` or `<lora:name:te=0.5:unet=0.8>`."""

    kind: str
    name: str
    model_weight: float
    clip_weight: float


class PromptText(NamedTuple):
    """A prompt without the networks that it names."""

    text: str
    networks: tuple[Network, ...]


@dataclass(frozen=True)
class Parameters:
    """The prompts, and the settings as strings by name."""

    prompt: str
    negative: str
    settings: dict[str, str] = field(default_factory=dict)


def is_parameters(text: str) -> bool:
    """Return whether one line of the string has the form of such settings."""
    return any(SETTINGS.match(line) and "Seed:" in line for line in text.split("\n"))


def parse_parameters(text: str) -> Parameters:
    """Parse the text.

    Raises:
        FormatError: it is too long, or has no line of settings.
    """
    if len(text) > MAX_BYTES:
        raise FormatError(f"expected at most {MAX_BYTES} characters, got {len(text)}")
    lines = text.replace("\r\n", "\n").split("\n")
    starts = [index for index, line in enumerate(lines) if SETTINGS.match(line)]
    if not starts:
        raise FormatError("expected a line that begins with `Steps:`, as A1111 writes it")
    prompts, settings = lines[: starts[-1]], "\n".join(lines[starts[-1] :])
    stripped = [line.strip() for line in prompts]
    split = next((i for i, line in enumerate(stripped) if line.startswith(NEGATIVE)), len(prompts))
    negative = "\n".join(stripped[split:]).removeprefix(NEGATIVE).strip()
    positive = "\n".join(stripped[:split]).strip()
    return Parameters(positive, negative, dict(_settings(settings)))


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the settings; a piece without a name belongs to the value before it."""
    name, values = "", [""]
    for piece in _pieces(text):
        match = KEY.match(piece)
        if match is None:
            values += [piece] if piece.strip() else []
            continue
        if name:
            yield name, _unquoted(",".join(values))
        name, values = match[1].strip(), [piece[match.end() :]]
    if name:
        yield name, _unquoted(",".join(values))


def _pieces(text: str) -> Iterator[str]:
    """Split at commas and line ends that are outside of quotes and brackets."""
    start, depth, is_quoted, is_escaped = 0, 0, False, False
    for index, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif is_quoted:
            is_escaped, is_quoted = character == "\\", character != '"'
        elif character == '"':
            is_quoted = True
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth = max(0, depth - 1)
        elif character in ",\n" and depth == 0:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        try:
            decoded = json.loads(value)
        except ValueError:
            return value[1:-1]
        return str(decoded)
    return value


def read_prompt_text(text: str, embeddings: tuple[str, ...] = ()) -> PromptText:
    """Return a prompt in the syntax that CLIP's nodes read, and the networks that it names.

    Args:
        embeddings: names of textual inversions, which such a prompt writes as plain words.
    """
    networks = tuple(map(_network, NETWORK.finditer(text)))
    plain = NETWORK.sub("", text)
    plain = re.sub(r"[ \t]+(?=[,\n]|$)", "", re.sub(r"[ \t]{2,}", " ", plain))
    plain = re.sub(r"(?:,[ \t]*){2,}", ", ", plain) if networks else plain
    plain = plain.strip().strip(",").strip() if networks else plain.strip()
    for name in embeddings:
        word = rf"(?<![\w:-]){re.escape(name)}(?![\w-])"
        plain = re.sub(word, lambda match: f"embedding:{match[0]}", plain, flags=re.IGNORECASE)
    return PromptText(_without_brackets(plain), networks)


def _network(match: re.Match[str]) -> Network:
    kind, name, rest = match.groups()
    weights: dict[str, float] = {}
    positions = iter(("te", "unet"))
    for item in rest.split(":")[1:]:
        key, equals, value = item.rpartition("=")
        key = key.strip() if equals else next(positions, "dyn")
        try:
            weights[key] = float(value)
        except ValueError:
            continue
    clip = weights.get("te", 1.0)
    return Network(kind.lower(), name.strip(), weights.get("unet", clip), clip)


def _without_brackets(text: str) -> str:
    """Return a prompt whose `[word]` is `(word:0.909)`; scheduled words stay as they are."""
    opened: list[int] = []
    pieces = list(text)
    separated: list[bool] = []
    is_escaped = False
    for index, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == "[":
            opened.append(index)
            separated.append(False)
        elif character in ":|" and opened:
            separated[-1] = True
        elif character == "]" and opened:
            start, is_scheduled = opened.pop(), separated.pop()
            if not is_scheduled and index > start + 1:
                pieces[start], pieces[index] = "(", f":{LESS:.4g})"
    return "".join(pieces)
