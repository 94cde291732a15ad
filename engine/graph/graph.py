"""Graph: nodes, links, literals, inputs. Immutable: every edit returns a new Graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import GraphError, Problem
from .parts import Body, Part, PartUse, Passes
from .passes import resize
from .records import (
    CONVERTED,
    CORE_PACK,
    IGNORED,
    PACK,
    POSITIONAL,
    UNREAD,
    Document,
    GraphInput,
    InputRef,
    LeftOut,
    Link,
    Node,
    freeze,
)

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "CONVERTED", "CORE_PACK", "IGNORED", "PACK", "POSITIONAL", "UNREAD", "Document", "Graph",
    "GraphInput", "InputRef", "LeftOut", "Link", "Node", "freeze",
]  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """Nodes by id, connected by links. Nodes and inputs stay in the order of the file.

    Attributes:
        inputs: the inputs that the graph declares, by name.
        layout: positions, colours and notes for an editor; never in a cache key.
        source: the file it was read from, if any; its folder is searched for files that it names.
        document: what that file holds, in a form of ComfyUI; saved again, nothing of it is lost.
        parts: pieces of graph by name, as files declare them.
        uses: where parts are used; the nodes of a use are in `nodes`, one by one.
        passes: parts that are used several times in a row, the passes being in `uses`.
        sweep: the axes that `latentloom sweep` runs it over; see `graph.axes`.
        expect: what `latentloom test` compares its results with; see `graph.expectations`.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    inputs: Mapping[str, GraphInput] = field(default_factory=dict)
    title: str = ""
    description: str = ""
    layout: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = field(default=None, compare=False)
    document: Document | None = field(default=None, compare=False, repr=False)
    parts: Mapping[str, Part] = field(default_factory=dict)
    uses: Mapping[str, PartUse] = field(default_factory=dict)
    passes: Mapping[str, Passes] = field(default_factory=dict)
    sweep: Mapping[str, Any] = field(default_factory=dict)
    expect: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("nodes", "inputs", "parts", "uses", "passes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "sweep", freeze(self.sweep))
        object.__setattr__(self, "expect", freeze(self.expect))

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
        """Return the graph with one input of a node changed, or of a part where it is used.

        Args:
            path: `node.input`, such as `pass1.denoise`; for all passes, such as `pass.cfg`.
            value: a literal, a Link or an InputRef.

        Raises:
            GraphError: there is no such node.
        """
        id, name = self.split(path)
        nodes, same_edges = dict(self.nodes), not isinstance(value, Link)
        for node_id, port in self.ports_behind(id, name):
            node = self._node(node_id)
            same_edges &= not isinstance(node.inputs.get(port), Link)
            nodes[node_id] = replace(nodes[node_id], inputs={**nodes[node_id].inputs, port: value})
        return self._with_nodes(nodes, same_edges=same_edges)

    def split(self, path: str) -> tuple[str, str]:
        """Return the id and the input of `node.input`; either may have dots: `save.format.depth`.

        The id is the longest that a node, a use of a part or passes have; empty without a dot.
        """
        id, _, name = path.rpartition(".")
        shorter = id
        while shorter and not any(shorter in ids for ids in (self.nodes, self.uses, self.passes)):
            shorter = shorter.rpartition(".")[0]
        return (shorter, path[len(shorter) + 1 :]) if shorter else (id, name)

    def ports_behind(self, id: str, name: str) -> list[tuple[str, str]]:
        """Return the inputs of nodes that `id.name` stands for: one, or several inside parts."""
        repeated = self.passes.get(id)
        if repeated is not None:
            names = repeated.uses[:1] if name in repeated.carry else repeated.uses
        else:
            names = (id,)
        ports = [
            (use.nodes[inner], port)
            for use in map(self.uses.get, names)
            if use is not None and use.part in self.parts
            for inner, port in self.parts[use.part].ports_behind(name)
        ]
        return [(node, port) for node, port in ports if node in self.nodes] or [(id, name)]

    def set_input(self, name: str, value: Any) -> Graph:
        """Return the graph with the default of one of its inputs changed.

        A list for passes sets their number.

        Raises:
            GraphError: there is no such input, or passes cannot have this number.
        """
        declared = self.inputs.get(name)
        if declared is None:
            raise GraphError([Problem.unknown_graph_input(name, self.inputs)])
        value = freeze(value)
        if declared.is_list and not isinstance(value, tuple):
            value = (value,)
        inputs = {**self.inputs, name: replace(declared, default=value)}
        changed = self._carry(replace(self, inputs=inputs), True)
        for id, repeated in self.passes.items():
            if InputRef(name) in repeated.over.values():
                changed = changed._resized(id)
        return changed

    def _resized(self, id: str) -> Graph:
        """Return the graph with as many passes as the lists that they go over have values."""
        repeated = self.passes[id]
        count = repeated.count({name: item.default for name, item in self.inputs.items()})
        if count == len(repeated.uses):
            return self
        return self._with_body(resize(self.body, id, self.parts[repeated.part], count))

    @property
    def body(self) -> Body:
        """The nodes, and which of them are uses of parts."""
        return Body(nodes=self.nodes, uses=self.uses, passes=self.passes)

    def _with_body(self, body: Body) -> Graph:
        return replace(self, nodes=body.nodes, uses=body.uses, passes=body.passes)

    def bound(self) -> Graph:
        """Return the graph with references to its inputs replaced by their values.

        References to undeclared inputs stay, for validation to report.
        """
        changed: dict[str, Node] = {}
        for id, node in self.nodes.items():
            values = {
                name: value.value_in(self.inputs[value.name].default)
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
            known = {**self.nodes, **self.uses, **self.passes}
            raise GraphError([Problem.unknown_id(id, known)])
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
