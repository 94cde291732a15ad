"""The records of a graph: nodes, links, references to graph inputs, and documents of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, NamedTuple

IGNORED = "ignored inputs"
"""The key in `Node.extra` of values for inputs that the node's type does not have."""
UNREAD = "unread values"
"""The key in `Node.extra` of an editor's values beyond those of the node's fields."""
CONVERTED = "converted values"
"""The key in `Node.extra` of values that lost something when they were converted."""

POSITIONAL = "widgets_values"
"""The key in `Node.extra` of the values in an editor's file whose names are not known."""

PACK = "pack"
"""The key in `Node.extra` of the pack that a node which is not installed comes from."""
CORE_PACK = "comfy-core"
MIGRATED = "former type"
"""The key in `Node.extra` of the type that a node has in its file, where another replaced it.

With its version, such as `Blur@1`, where a later version of the same type did."""
NODE_VERSION = "node version"
"""The key in `Node.extra` of the version of its type that a node was written for."""
SETTINGS_FORM = "a1111"
"""The form of documents that hold settings of A1111 instead of nodes."""


@dataclass(frozen=True, slots=True)
class Link:
    """The output of another node, by name, or by index as in ComfyUI's files."""

    node: str
    output: str | int

    def __str__(self) -> str:
        return f"${self.node}.{self.output}"


@dataclass(frozen=True, slots=True)
class InputRef:
    """A reference to one of `Graph.inputs`, or to one value of its list."""

    name: str
    index: int | None = None

    def __str__(self) -> str:
        return f"${{{self.name}}}" if self.index is None else f"${{{self.name}[{self.index}]}}"

    def value_in(self, value: Any) -> Any:
        """Return the value that this refers to; itself where a list has no such value."""
        if self.index is None:
            return value
        has_value = isinstance(value, list | tuple) and self.index < len(value)
        return value[self.index] if has_value else self


@dataclass(frozen=True)
class Node:
    """One node: its type, and for each input a literal, a Link or an InputRef.

    `extra` holds the remaining contents of its file; it is stored and never in a cache key.
    """

    type: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = {name: freeze(value) for name, value in self.inputs.items()}
        object.__setattr__(self, "inputs", MappingProxyType(values))

    @property
    def ignored(self) -> Mapping[str, Any]:
        """Values in its file for inputs that its type does not have."""
        ignored: Mapping[str, Any] = self.extra.get(IGNORED, {})
        return ignored

    @property
    def unread(self) -> Sequence[Any]:
        """Values without a name in an editor's file, beyond those of the node's fields."""
        unread: Sequence[Any] = self.extra.get(UNREAD, ())
        return unread

    @property
    def positional(self) -> Sequence[Any]:
        """Values in an editor's file whose names are not known, as nothing declares the node."""
        positional: Sequence[Any] = self.extra.get(POSITIONAL, ())
        return positional

    @property
    def pack(self) -> str:
        """The pack that a node which is not installed comes from, as its file says."""
        return str(self.extra.get(PACK, ""))

    @property
    def former_type(self) -> str:
        """Its type in its file, where another node replaced that; empty otherwise."""
        return str(self.extra.get(MIGRATED, ""))

    @property
    def version(self) -> int:
        """The version of its type that its file is written for; 0 if it is not stated."""
        version: int = self.extra.get(NODE_VERSION, 0)
        return version

    @property
    def converted(self) -> Mapping[str, Any]:
        """Values in its file that lost something when they were converted to an input's type."""
        converted: Mapping[str, Any] = self.extra.get(CONVERTED, {})
        return converted

    def links(self) -> Iterator[tuple[str, Link]]:
        """Yield the names and values of inputs that are links."""
        for name, value in self.inputs.items():
            if isinstance(value, Link):
                yield name, value


@dataclass(frozen=True)
class GraphInput:
    """An input that a graph declares, with its type, default and range.

    `type` is int, float, string, boolean, image, mask or file. A list as the default declares a
    list of such values, which passes go over.
    """

    type: str
    default: Any = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "default", freeze(self.default))

    @property
    def is_list(self) -> bool:
        """True if the input is a list of values."""
        return isinstance(self.default, list | tuple)


class LeftOut(NamedTuple):
    """A node of a file that the graph does not have, and why."""

    id: str
    type: str
    reason: str


class SharedValue(NamedTuple):
    """A value that a file holds once for several inputs, each by node and name."""

    name: str
    inputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Document:
    """The parsed file that a graph was read from.

    Attributes:
        form: "comfy" or "editor", as in `formats.dump_graph`, or SETTINGS_FORM.
        left_out: its nodes that no run needs.
        shared: values that it holds apart from the nodes that use them.
    """

    form: str
    data: Mapping[str, Any]
    left_out: tuple[LeftOut, ...] = ()
    shared: tuple[SharedValue, ...] = ()


_FROZEN = frozenset({str, int, float, bool, type(None), Link, InputRef})


def freeze(value: Any) -> Any:
    """Return an immutable literal: lists become tuples, mappings read-only.

    Numbers of other libraries become Python's own.
    """
    if value.__class__ in _FROZEN or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, Sequence):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
