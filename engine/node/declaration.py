"""Port and Output: the declarations of a node's inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .ports import ANY, Between, Choices, File, Growing, Plain


class _Missing:
    def __repr__(self) -> str:
        return "required"


MISSING: Any = _Missing()
LITERAL_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", ANY})


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input of a node.

    Attributes:
        type: "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", or an edge type such as "IMAGE".
        default: MISSING if the graph must give a value.
        optional: it accepts None.
        many: it takes all values of an edge at once, as a list.
        between: the range of a number; None if it has none.
        choices: the allowed strings of a COMBO, or what lists them.
        file: the kind of file that its value names.
        mentions: the kind of file that words of its value may name.
        former: names that the input had in earlier versions.
        growing: it stands for a group of inputs of this type; see `engine.node.fitting`.
        branches: the inputs that each choice adds.
        matched: name of the type that it shares with other inputs and outputs.
        plain: how editors show its value, which a graph may write as plain data; else None.
    """

    name: str
    type: str
    default: Any = MISSING
    optional: bool = False
    many: bool = False
    between: Between | None = None
    choices: tuple[str, ...] | Choices | None = None
    file: File | None = None
    tooltip: str = ""
    lazy: bool = False
    multiline: bool = False
    seeded: bool = False
    family: bool = False
    compatible: Callable[[str, str], bool] | None = None
    mentions: File | None = None
    former: tuple[str, ...] = ()
    growing: Growing | None = None
    branches: tuple[Branch, ...] = ()
    matched: str = ""
    plain: Plain | None = None

    @property
    def is_required(self) -> bool:
        """True if the graph must give a value."""
        return self.default is MISSING

    def options(self) -> tuple[str, ...] | None:
        """Return the strings that are allowed now, None if any string is."""
        if isinstance(self.choices, Choices):
            return tuple(self.choices.list())
        if self.file is not None and self.file.names is not None:
            return tuple(self.file.names())
        return self.choices

    @property
    def file_kinds(self) -> tuple[File, ...]:
        """The kinds of files that its value may name or mention."""
        return tuple(file for file in (self.file, self.mentions) if file is not None)

    @property
    def is_edge(self) -> bool:
        """True if only a link can feed it: its values have no literal form."""
        return not self.plain and not LITERAL_TYPES & set(self.type.split(","))


@dataclass(frozen=True)
class Branch:
    """The inputs that a choice adds to a node.

    Attributes:
        make: the NamedTuple with a field for each of these inputs.
    """

    choice: str
    make: type[tuple[Any, ...]]
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Output:
    """One output of a node, identified by name in native files and by index in ComfyUI's.

    Attributes:
        many: its value is a list; a node that takes single values runs once for each.
        matched: as in Port.
        is_shared: several families share its values, as they do latents.
        forwards: the input whose value it is; a link to it leads to what that input is linked to.
    """

    name: str
    type: str
    family: bool = False
    many: bool = False
    matched: str = ""
    is_shared: bool = False
    forwards: str = ""


class Unavailable(NamedTuple):
    """Why an output has no value, and what to use instead."""

    reason: str
    remedy: str
