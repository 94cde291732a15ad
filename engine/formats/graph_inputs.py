"""Values of an editor's file that its reader is meant to set, as inputs of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ..graph.fold import find_values, is_same_literal
from ..graph.graph import Graph, GraphInput, InputRef, Link, Node
from ..graph.records import SharedValue
from ..node.spec import NodeSpec
from .names import free_name

Specs = Mapping[str, NodeSpec]
NO_SPECS: Specs = MappingProxyType({})
IMAGE_KIND = "input"
_TYPES = {bool: "boolean", int: "int", float: "float", str: "string"}


def with_inputs(
    graph: Graph, shared: Iterable[SharedValue], names: Mapping[str, str], specs: Specs
) -> Graph:
    """Return the graph with inputs for shared values, and for those given to uses of parts.

    Args:
        names: the ids of nodes in the graph by those in `shared`.
    """
    inside = {id for use in graph.uses.values() for id in use.nodes.values()}
    inputs, nodes = dict(graph.inputs), dict(graph.nodes)
    given = [(item.name, [(names[id], port) for id, port in item.inputs]) for item in shared]
    given = [(name, ports) for name, ports in given if not {id for id, _ in ports} & inside]
    for name, ports in (*given, *_given_to_uses(graph)):
        values = [nodes[id].inputs.get(port) for id, port in ports]
        kind = _kind(nodes, ports, values[0], specs)
        if not kind or not all(is_same_literal(value, values[0]) for value in values):
            continue
        free = free_name(name, inputs)
        inputs[free] = GraphInput(kind, values[0])
        for id, port in ports:
            nodes[id] = replace(nodes[id], inputs={**nodes[id].inputs, port: InputRef(free)})
    return replace(graph, inputs=inputs, nodes=nodes)


def _given_to_uses(graph: Graph) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the inputs of uses that have a literal, and the inputs of nodes that it feeds."""
    for use in graph.uses.values():
        part = graph.parts[use.part]
        values = find_values(part, use, graph.nodes) or {}
        for name, value in values.items():
            if not isinstance(value, Link | InputRef) and value is not None:
                yield name, [(use.nodes[id], port) for id, port in part.ports_of(name)]


def _kind(nodes: Mapping[str, Node], ports: list[tuple[str, str]], value: Any, specs: Specs) -> str:
    """Return the type of a graph input for a value; empty if there is none."""
    id, name = ports[0]
    spec = specs.get(nodes[id].type)
    port = spec.fitted(nodes[id].inputs).port(name) if spec is not None else None
    if port is not None and port.file is not None and port.file.kind == IMAGE_KIND:
        return "image"
    return _TYPES.get(type(value), "")
