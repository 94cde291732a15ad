"""Parts: pieces of graph that a graph uses by name, once or pass after pass.

The nodes of every use are in the graph one by one, so that what reads a graph need not know parts.
These records say which nodes belong to a use; `fold` writes them as uses again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .records import InputRef, Node

MAX_PASSES = 1000


@dataclass(frozen=True, kw_only=True)
class PartInput:
    """An input of a part.

    Attributes:
        default: a literal, or a Link or InputRef of the graph around the use; None if there is
            none.
        type: the type of its port, if the file says so.
        optional: without a value, what it feeds has none either.
    """

    default: Any = None
    type: str = ""
    description: str = ""
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class PartUse:
    """A use of a part: the ids that the nodes of the part have in the graph."""

    part: str
    nodes: Mapping[str, str]
    title: str = ""


@dataclass(frozen=True)
class Count:
    """A number for each pass: the first, and how much is added for the next one."""

    first: int | float
    step: int | float = 1


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Uses of one part in a row.

    Attributes:
        uses: their names, in order.
        over: inputs with a value for each pass: a tuple, a list of the graph, or a Count.
        carry: inputs that are given the output of the same name of the pass before.
    """

    part: str
    uses: tuple[str, ...]
    over: Mapping[str, tuple[Any, ...] | InputRef | Count]
    carry: tuple[str, ...] = ()
    title: str = ""

    def count(self, lists: Mapping[str, Any]) -> int:
        """Return how many passes these lists of the graph make; see `count_passes`."""
        return count_passes(self.over, lists)


@dataclass(frozen=True, kw_only=True)
class Body:
    """Nodes one by one, and which of them are uses of parts."""

    nodes: Mapping[str, Node]
    uses: Mapping[str, PartUse] = field(default_factory=dict)
    passes: Mapping[str, Passes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("nodes", "uses", "passes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of graph with inputs and outputs.

    Attributes:
        body: its nodes, in which an InputRef is an input of the part.
        outputs: by name, an output of a node, an input that is passed on, or a literal.
        is_node: it stands for a single node that passes repeat, and no file declares it.
    """

    body: Body
    inputs: Mapping[str, PartInput] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    is_node: bool = False

    def ports_of(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield node and input of each place in the part that one of its inputs feeds."""
        for id, node in self.body.nodes.items():
            for port, value in node.inputs.items():
                if value == InputRef(name):
                    yield id, port

    def ports_behind(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield as `ports_of`; for a repeated node, also an input that it has no value for."""
        ports = list(self.ports_of(name))
        yield from ports or (((id, name) for id in self.body.nodes) if self.is_node else ())

    def output(self, name: str | int) -> Any:
        """Return an output by name or by index; None if there is none."""
        if isinstance(name, int):
            return tuple(self.outputs.values())[name] if 0 <= name < len(self.outputs) else None
        return self.outputs.get(name)


def use_ids(use: str, inner: Iterable[str]) -> dict[str, str]:
    """Return the ids of a part's nodes where it is used.

    >>> use_ids("pass2", ["sample", "sharpen"])
    {'sample': 'pass2:sample', 'sharpen': 'pass2:sharpen'}
    >>> use_ids("pass2", ["sample"])
    {'sample': 'pass2'}
    """
    ids = tuple(inner)
    return {id: use if len(ids) == 1 else f"{use}:{id}" for id in ids}


def pass_name(passes: str, index: int) -> str:
    """Return the name of a pass, counted from 0: `pass1` is the first."""
    return f"{passes}{index + 1}"


def count_passes(over: Mapping[str, Any], lists: Mapping[str, Any]) -> int:
    """Return the number of passes.

    The longest list of the graph decides; without one, the shortest tuple.

    Args:
        lists: the lists of the graph by the name of their input.
    """
    held = [lists.get(item.name) for item in over.values() if isinstance(item, InputRef)]
    lengths = [len(item) for item in held if isinstance(item, list | tuple)]
    if lengths:
        return max(lengths)
    return min((len(item) for item in over.values() if isinstance(item, tuple)), default=0)


def value_of_pass(series: tuple[Any, ...] | InputRef | Count, index: int) -> Any:
    """Return the value for a pass, counted from 0.

    Raises:
        IndexError: a tuple is shorter.
    """
    if isinstance(series, InputRef):
        return InputRef(series.name, index)
    if isinstance(series, Count):
        return series.first + index * series.step
    return series[index]
