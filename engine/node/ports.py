"""Markers for annotations of a node's parameters, and the rule which outputs may feed an input.

Markers are put in `Annotated[...]`; `node.annotation` reads them. Types have names ("IMAGE"), as in
ComfyUI's files, so that the engine needs no definition of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ANY = "*"


@dataclass(frozen=True)
class Socket:
    """An edge type, by name.

    Args:
        family: its values belong to a model family, which is checked on edges.
        compatible: returns True if values of two families can stand for each other; None if
            each family has its own.
    """

    type: str
    family: bool = False
    compatible: Callable[[str, str], bool] | None = None


@dataclass(frozen=True)
class Between:
    """A closed range of numbers.

    Args:
        step: of an editor's widget.
        start: what the widget shows if the input has no default.
    """

    low: float
    high: float
    step: float | None = None
    start: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether a finite number lies inside; NaN and infinity never do."""
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
    """Allowed strings that are listed at the time of use, such as installed files."""

    list: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class File:
    """A parameter that names a file: a name in graphs, a Path in the function.

    Args:
        kind: the folder that the name is looked up in ("input", "checkpoints", ...).
        names: lists the files; None if the workspace does.
        resolve: name -> Path, raising LookupError, ValueError or OSError with a plain sentence;
            None if the workspace resolves it (kind "input").
        describe: Path -> properties of the file by name for listings, raising as `resolve` does.
        digest: Path -> the SHA-256 of its content as hexadecimal digits, if the pack caches
            digests itself.
    """

    kind: str
    names: Callable[[], Sequence[str]] | None = None
    resolve: Callable[[str], Path] | None = None
    describe: Callable[[Path], Mapping[str, str | int]] | None = None
    digest: Callable[[Path], str] | None = None


@dataclass(frozen=True)
class Text:
    """Sets how a STRING is edited.

    Args:
        mentions: files that its words may name, such as embeddings; the node's `reads` finds them.
    """

    multiline: bool = False
    mentions: File | None = None


@dataclass(frozen=True)
class Growing:
    """A group of inputs, as many as a graph gives: `images.image0`, `images.image1`, ...

    Put it on a parameter of type `dict[str, X]`, which gets their values by name, in order.

    Args:
        item: the name of one input, which is followed by a number from 0.
        prefix: what comes before the number, if it is not `item`.
        names: the names of the inputs, if they have no numbers.
        low: so many must be given, the first ones.
        high: the largest number of inputs with numbers.
    """

    item: str
    prefix: str = ""
    names: tuple[str, ...] = ()
    low: int = 1
    high: int = 50

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of all inputs of the group, in order."""
        return tuple(self.key(index) for index in range(len(self.names) or self.high))

    def key(self, index: int) -> str:
        """Return the name of an input, also of one too many."""
        is_named = index < len(self.names)
        return self.names[index] if is_named else f"{self.prefix or self.item}{index}"


@dataclass(frozen=True)
class Branches:
    """A choice that decides which further inputs a node has: `format`, `format.bit_depth`.

    Args:
        classes: for each choice the NamedTuple of its inputs, of which the parameter gets one; no
            class stands for two choices. The first choice is the default.
    """

    classes: Mapping[str, type]


@dataclass(frozen=True)
class Matched:
    """A value of any type, the same for all inputs and outputs with this name.

    Args:
        name: of what they share, within the node.
        allowed: the types that it may have, as in `accepts`.
    """

    name: str
    allowed: str = "*"


@dataclass(frozen=True)
class Plain:
    """Marks an edge type whose values a graph may write: numbers, strings, lists, mappings.

    Args:
        component: the part of the editor that edits the value, if it is not that of the type.
    """

    component: str = ""


@dataclass(frozen=True)
class Forwards:
    """Marks the result of an output node: its output is the value that an input has.

    Args:
        port: the input; it must be linked.
        name: of the output, if it is not that of the input.
    """

    port: str
    name: str = ""


@dataclass(frozen=True)
class Lazy:
    """An input that is computed only when the node's `needs` asks for it; None if it was not."""


@dataclass(frozen=True)
class Formerly:
    """A name that the input had in earlier versions; files with that name still load."""

    name: str


def accepts(expected: str, given: str) -> bool:
    """Return whether an output of type `given` may feed an input of type `expected`.

    Types are single names, comma-separated unions, or `*`. An INT may feed a FLOAT and a STRING
    a COMBO; the value is checked once it is known.

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
