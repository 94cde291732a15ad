"""Graph: nodes, links, literals, inputs. Immutable: every edit returns a new Graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import GraphError, Problem

if TYPE_CHECKING:
    import networkx as nx

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


@dataclass(frozen=True, slots=True)
class Link:
    """The output of another node, by name, or by index as in ComfyUI's files."""

    node: str
    output: str | int

    def __str__(self) -> str:
        return f"${self.node}.{self.output}"


@dataclass(frozen=True, slots=True)
class InputRef:
    """A reference to one of `Graph.inputs`."""

    name: str

    def __str__(self) -> str:
        return f"${{{self.name}}}"


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

    `type` is int, float, string, boolean, image, mask or file.
    """

    type: str
    default: Any = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] | None = None
    description: str = ""


class LeftOut(NamedTuple):
    """A node of a file that the graph does not have, and why."""

    id: str
    type: str
    reason: str


@dataclass(frozen=True)
class Document:
    """The parsed file that a graph was read from.

    Attributes:
        form: "comfy" or "editor", as in `formats.dump_graph`.
        left_out: its nodes that no run needs.
    """

    form: str
    data: Mapping[str, Any]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes by id, connected by links. Nodes and inputs stay in the order of the file.

    Attributes:
        inputs: the inputs that the graph declares, by name.
        layout: positions, colours and notes for an editor; never in a cache key.
        source: the file it was read from, if any; its folder is searched for files that it names.
        document: what that file holds, in a form of ComfyUI; saved again, nothing of it is lost.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    inputs: Mapping[str, GraphInput] = field(default_factory=dict)
    title: str = ""
    description: str = ""
    layout: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = field(default=None, compare=False)
    document: Document | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))
        object.__setattr__(self, "inputs", MappingProxyType(dict(self.inputs)))

    def __hash__(self) -> int:
        return id(self)

    # Edits

    def add(self, id: str, type: str, title: str = "", **inputs: Any) -> Graph:
        """Return the graph with one more node, or with this node replaced."""
        return self._with_nodes({**self.nodes, id: Node(type, inputs, title)})

    def remove(self, *ids: str) -> Graph:
        """Return the graph without these nodes; links to them are left dangling."""
        for id in ids:
            self._node(id)
        return self._with_nodes({id: node for id, node in self.nodes.items() if id not in ids})

    def set(self, path: str, value: Any) -> Graph:
        """Return the graph with one input of a node changed.

        Args:
            path: `node.input`, such as `pass1.denoise`.
            value: a literal, a Link or an InputRef.

        Raises:
            GraphError: there is no such node.
        """
        id, _, name = path.rpartition(".")
        node = self._node(id)
        old = node.inputs.get(name)
        changed = replace(node, inputs={**node.inputs, name: value})
        same_edges = not isinstance(old, Link) and not isinstance(value, Link)
        return self._with_nodes({**self.nodes, id: changed}, same_edges=same_edges)

    def set_input(self, name: str, value: Any) -> Graph:
        """Return the graph with the default of one of its inputs changed.

        Raises:
            GraphError: there is no such input.
        """
        declared = self.inputs.get(name)
        if declared is None:
            raise GraphError([Problem.unknown_graph_input(name, self.inputs)])
        inputs = {**self.inputs, name: replace(declared, default=freeze(value))}
        return self._carry(replace(self, inputs=inputs), True)

    def bound(self) -> Graph:
        """Return the graph with references to its inputs replaced by their values.

        References to undeclared inputs stay, for validation to report.
        """
        changed: dict[str, Node] = {}
        for id, node in self.nodes.items():
            values = {
                name: self.inputs[value.name].default
                for name, value in node.inputs.items()
                if isinstance(value, InputRef) and value.name in self.inputs
            }
            if values:
                changed[id] = replace(node, inputs={**node.inputs, **values})
        return self._with_nodes({**self.nodes, **changed}, same_edges=True) if changed else self

    # Structure

    @cached_property
    def network(self) -> nx.DiGraph[str]:
        """The nodes and links as a networkx graph; links to missing nodes are left out."""
        import networkx as nx

        network: nx.DiGraph[str] = nx.DiGraph()
        network.add_nodes_from(self.nodes)
        nodes = self.nodes
        network.add_edges_from(
            (value.node, id)
            for id, node in nodes.items()
            for value in node.inputs.values()
            if value.__class__ is Link and value.node in nodes
        )
        return network

    @cached_property
    def generations(self) -> tuple[tuple[str, ...], ...]:
        """Ids in topological generations: each node depends on earlier ones only.

        Raises:
            networkx.NetworkXUnfeasible: there is a cycle; see `cycle`.
        """
        import networkx as nx

        return tuple(tuple(layer) for layer in nx.topological_generations(self.network))

    def cycle(self) -> list[str] | None:
        """Return the ids of one cycle in order, None if there is no cycle."""
        import networkx as nx

        if nx.is_directed_acyclic_graph(self.network):
            return None
        return [origin for origin, _ in nx.find_cycle(self.network)]

    def upstream(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the ids of these nodes and of all that they depend on."""
        visited = {id for id in ids if id in self.nodes}
        waiting = list(visited)
        predecessors = self.network.pred
        while waiting:
            new = predecessors[waiting.pop()].keys() - visited
            visited |= new
            waiting.extend(new)
        return frozenset(visited)

    def _node(self, id: str) -> Node:
        if id not in self.nodes:
            raise GraphError([Problem.unknown_id(id, self.nodes)])
        return self.nodes[id]

    def _with_nodes(self, nodes: Mapping[str, Node], same_edges: bool = False) -> Graph:
        return self._carry(replace(self, nodes=nodes), same_edges)

    def _carry(self, changed: Graph, same_edges: bool) -> Graph:
        """Pass the computed structure on to a graph with the same edges."""
        if same_edges:
            for name in ("network", "generations"):
                if name in self.__dict__:
                    changed.__dict__[name] = self.__dict__[name]
        return changed


def freeze(value: Any) -> Any:
    """Return an immutable literal: lists become tuples, mappings read-only.

    Numbers of other libraries become Python's own.
    """
    if isinstance(value, str | int | float | Link | InputRef) or value is None:
        return value
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, Sequence):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
