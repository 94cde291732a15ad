"""What an annotation on a node's parameter may say, and when an output may feed an input.

Markers are put in `Annotated[...]`; `node.spec` reads them. Types are known by name ("IMAGE"),
as in ComfyUI's files, so that the engine needs to know nothing of what an image is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ANY = "*"


@dataclass(frozen=True)
class Socket:
    """An edge type, by name.

    Args:
        family: its values belong to a model family, checked on edges.
        compatible: gives the name under which families share values of this type; None where each
            family has its own.
    """

    type: str
    family: bool = False
    compatible: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Between:
    """A closed range of numbers.

    `step` is what an editor's widget moves by, `start` what it shows where there is no default.
    """

    low: float
    high: float
    step: float | None = None
    start: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a finite number lies inside; NaN and infinity never do."""
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return (
            f"{self.low:g} to {self.high:g}" if self.high < 1e15 else f"{self.low} to {self.high}"
        )


@dataclass(frozen=True)
class Seeded:
    """Marks a seed: editors offer to draw a new one after each run."""


@dataclass(frozen=True)
class Choices:
    """A list of allowed strings that is computed when asked for, such as installed files."""

    list: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class File:
    """A parameter that names a file: a name on the wire, a Path in the function.

    Args:
        kind: folder the name is looked up in ("input", "checkpoints", ...).
        names: lists what is there; None where the workspace knows.
        resolve: name -> Path, raising LookupError, ValueError or OSError with a plain sentence;
            None where the workspace resolves it (kind "input").
        describe: Path -> what the file is, as texts and numbers by name, raising as `resolve`
            does; None where listings say nothing of it.
        digest: Path -> a digest of its content, where what reads the file keeps one too; None
            where the engine's own does.
    """

    kind: str
    names: Callable[[], Sequence[str]] | None = None
    resolve: Callable[[str], Path] | None = None
    describe: Callable[[Path], Mapping[str, str | int]] | None = None
    digest: Callable[[Path], str] | None = None


@dataclass(frozen=True)
class Text:
    """How a STRING is edited.

    Args:
        mentions: files that its words may name, such as embeddings; the node's `reads` finds them.
    """

    multiline: bool = False
    mentions: File | None = None


@dataclass(frozen=True)
class Lazy:
    """An input that is computed only when the node's `needs` asks for it."""


@dataclass(frozen=True)
class Hidden:
    """A parameter that the engine fills in; not an input of the graph."""


def accepts(expected: str, given: str) -> bool:
    """Whether an output of type `given` may feed an input of type `expected`.

    Types are single names, comma-separated unions, or `*`. An INT may feed a FLOAT and a STRING
    a COMBO, whose value is then checked when it is known.

    >>> accepts("IMAGE", "IMAGE"), accepts("IMAGE,MASK", "MASK"), accepts("*", "LATENT")
    (True, True, True)
    >>> accepts("FLOAT", "INT"), accepts("INT", "FLOAT"), accepts("LATENT", "IMAGE")
    (True, False, False)
    """
    if ANY in (expected, given) or expected == given:
        return True
    inputs = {name.strip() for name in expected.split(",")}
    outputs = {name.strip() for name in given.split(",")}
    if inputs & outputs or ANY in inputs | outputs:
        return True
    return ("FLOAT" in inputs and "INT" in outputs) or ("COMBO" in inputs and "STRING" in outputs)


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
