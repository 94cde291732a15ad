"""Other names for the files that a graph names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graph import Graph


def rename_files(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with strings that are keys of a mapping replaced, in nodes and inputs."""
    if not names:
        return graph
    for id, node in graph.nodes.items():
        for port, value in node.inputs.items():
            if isinstance(value, str) and value in names:
                graph = graph.set(f"{id}.{port}", names[value])
    for name, graph_input in graph.inputs.items():
        renamed = _renamed(graph_input.default, names)
        if renamed != graph_input.default:
            graph = graph.set_input(name, renamed)
    return graph


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_renamed(item, names) for item in value)
    return names.get(value, value) if isinstance(value, str) else value
