"""Outputs of nodes by name, as native files have them, and by index, as those of ComfyUI do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..graph.graph import Graph, Link
from ..node.spec import NodeSpec
from .known_nodes import known_node

Specs = Mapping[str, NodeSpec]


def name_outputs(graph: Graph, specs: Specs) -> Graph:
    """Return the graph with outputs by name, not by ComfyUI's index: `$4.VAE` for `$4.2`."""

    def name_output(link: Link, spec: NodeSpec) -> Link:
        if not isinstance(link.output, int) or not 0 <= link.output < len(spec.outputs):
            return link
        name = spec.outputs[link.output].name
        is_unique = name.isidentifier() and spec.output_index(name) == link.output
        return Link(link.node, name) if is_unique else link

    return _map_links(graph, specs, name_output)


def outputs_by_index(graph: Graph, specs: Specs) -> Graph:
    """Return the graph with outputs by index where the declaration of their node is known."""

    def index_output(link: Link, spec: NodeSpec) -> Link:
        index = spec.output_index(link.output)
        return link if index is None else Link(link.node, index)

    return _map_links(graph, specs, index_output)


def declared(type_name: str, specs: Specs) -> NodeSpec | None:
    """Return the declaration of a node type that is installed, or that ComfyUI has."""
    return specs.get(type_name) or known_node(type_name)


def _map_links(graph: Graph, specs: Specs, change: Callable[[Link, NodeSpec], Link]) -> Graph:
    def changed(value: object) -> object:
        if not isinstance(value, Link) or value.node not in graph.nodes:
            return value
        spec = declared(graph.nodes[value.node].type, specs)
        return change(value, spec) if spec is not None else value

    nodes = {
        id: replace(node, inputs={name: changed(value) for name, value in node.inputs.items()})
        for id, node in graph.nodes.items()
    }
    return replace(graph, nodes=nodes)
