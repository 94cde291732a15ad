"""Graphs of different forms, made comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..graph.graph import Graph, Node
from ..node.spec import NodeSpec
from .output_names import name_outputs

Specs = Mapping[str, NodeSpec]


def comparable(first: Graph, second: Graph, specs: Specs) -> tuple[Graph, Graph]:
    """Return two graphs with outputs by name and defaults written out.

    If only one declares inputs, their values stand where they are used; if one is a file of
    ComfyUI, which has no title, no description, no sweep and no expectations, theirs are left out.
    """
    both = name_outputs(first, specs), name_outputs(second, specs)
    if bool(first.inputs) != bool(second.inputs):
        both = _without_inputs(both[0]), _without_inputs(both[1])
    if first.document is not None or second.document is not None:
        both = _without_texts(both[0]), _without_texts(both[1])
    return _with_defaults(both[0], specs), _with_defaults(both[1], specs)


def _without_inputs(graph: Graph) -> Graph:
    return replace(graph.bound(), inputs={})


def _without_texts(graph: Graph) -> Graph:
    return replace(graph, title="", description="", sweep={}, expect={})


def _with_defaults(graph: Graph, specs: Specs) -> Graph:
    def filled(node: Node) -> Node:
        spec = specs.get(node.type)
        if spec is None:
            return node
        defaults: dict[str, Any] = {
            port.name: port.default
            for port in spec.fitted(node.inputs).inputs
            if not port.is_required and port.default is not None
        }
        is_complete = defaults.keys() <= node.inputs.keys()
        return node if is_complete else replace(node, inputs={**defaults, **node.inputs})

    return replace(graph, nodes={id: filled(node) for id, node in graph.nodes.items()})
