"""Outputs of nodes by name, as native files have them, and by index, as those of ComfyUI do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..graph.graph import Graph, Link, Node
from ..graph.parts import Part
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
    def changed(nodes: Mapping[str, Node], values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: change(value, spec)
            if isinstance(value, Link)
            and value.node in nodes
            and (spec := declared(nodes[value.node].type, specs)) is not None
            else value
            for name, value in values.items()
        }

    def map_part(part: Part) -> Part:
        nodes = map_nodes(part.body.nodes)
        outputs = changed(nodes, part.outputs)
        inputs = {
            name: replace(item, **changed(graph.nodes, {"default": item.default}))
            for name, item in part.inputs.items()
        }
        return replace(part, body=replace(part.body, nodes=nodes), inputs=inputs, outputs=outputs)

    def map_nodes(nodes: Mapping[str, Node]) -> dict[str, Node]:
        return {
            id: replace(node, inputs=changed(nodes, node.inputs)) if any(node.links()) else node
            for id, node in nodes.items()
        }

    parts = {name: map_part(part) for name, part in graph.parts.items()}
    return replace(graph, nodes=map_nodes(graph.nodes), parts=parts)
