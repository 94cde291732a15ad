"""Muted and bypassed nodes of a graph's layout, written into a file of the editor again."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph, Link
from ..node.spec import NodeSpec
from .comfy_editor import read_workflow
from .comfy_layout import LEFT_OUT, list_in
from .native_values import thaw
from .output_names import outputs_by_index

Specs = Mapping[str, NodeSpec]


def with_left_out(
    file: dict[str, Any], graph: Graph, numbers: Mapping[str, int | str], specs: Specs
) -> dict[str, Any]:
    """Return a file with the nodes that the graph's layout holds as muted or bypassed.

    Where these no longer fit the graph, so that another graph would be read, they are left away.

    Args:
        numbers: of the graph's nodes in the file.
    """
    held = [thaw(node) for node in list_in(graph.layout, LEFT_OUT)]
    if not held:
        return file
    try:
        added = _add(copy.deepcopy(file), held, numbers)
        reread = read_workflow(added, specs)
    except (FormatError, KeyError, IndexError, TypeError, ValueError, AttributeError):
        return file
    same = _links(graph, numbers, specs) == _links(reread, None, specs)
    return added if same and len(reread.nodes) == len(graph.nodes) else file


def _links(graph: Graph, numbers: Mapping[str, int | str] | None, specs: Specs) -> dict[Any, Any]:
    """Return (node, input) -> (origin, output), with the numbers of a file."""

    def number(id: str) -> str:
        return id if numbers is None else str(numbers.get(id, id))

    return {
        (number(id), name): (number(value.node), value.output)
        for id, node in outputs_by_index(graph, specs).nodes.items()
        for name, value in node.inputs.items()
        if isinstance(value, Link)
    }


def _add(
    file: dict[str, Any], held: list[dict[str, Any]], known: Mapping[str, int | str]
) -> dict[str, Any]:
    free = itertools.count(file["last_node_id"] + 1)
    numbers = {str(id): number for id, number in known.items() if isinstance(number, int)}
    waiting: list[list[Any]] = []
    for node in held:
        waiting += node.pop("links")
        numbers[str(node["id"])] = node["id"] = next(free)
        for socket in node.get("inputs") or ():
            socket["link"] = None
        for socket in node.get("outputs") or ():
            socket["links"] = None
        file["nodes"].append(node)
    by_number = {node["id"]: node for node in file["nodes"]}
    for origin, output, target, name in waiting:
        if origin in numbers and target in numbers:
            ends = (by_number[numbers[origin]], output, by_number[numbers[target]], name)
            _connect(file, *ends)
    file["last_node_id"] = max(by_number)
    return file


def _connect(
    file: dict[str, Any], origin: dict[str, Any], output: int, target: dict[str, Any], name: str
) -> None:
    """Add a link, instead of the one that the input has."""
    inputs = target["inputs"]
    slot = [socket["name"] for socket in inputs].index(name)
    old = inputs[slot].get("link")
    if old is not None:
        file["links"] = [link for link in file["links"] if link[0] != old]
        for node in file["nodes"]:
            for socket in node.get("outputs") or ():
                socket["links"] = [link for link in socket.get("links") or () if link != old]
    number = file["last_link_id"] = file["last_link_id"] + 1
    source = origin["outputs"][output]
    ends = [number, origin["id"], output, target["id"], slot, source.get("type", "*")]
    file["links"].append(ends)
    source["links"] = [*(source.get("links") or ()), number]
    inputs[slot]["link"] = number
