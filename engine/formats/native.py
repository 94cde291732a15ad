"""The native format, in YAML or JSON: made to be read, diffed and shared.

    latentloom: 1
    title: A title
    inputs:
      denoise: {type: float, default: 0.5, min: 0, max: 1}
    nodes:
      model: {node: CheckpointLoaderSimple, ckpt_name: demo}
      pass1: {node: KSampler, model: $model.MODEL, denoise: "${denoise}"}
    sweep: {over: {denoise: [0.3, 0.5]}}
    expect: {save: {like: golden.png, within: 2.0}}
    layout: {}

`$node.OUTPUT` is a link and `${name}` a graph input; `$$` at the start of a string stands for `$`.
Inputs of a node that are called `node`, `title` or `inputs` go under `inputs:` inside the node.
Values of a node that is not known, which have no names, are the list `widgets_values`.
Parts, and nodes that use them, are described in docs/format.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..graph.axes import read_axes
from ..graph.expand import expand
from ..graph.expectations import read_expectations
from ..graph.fold import fold
from ..graph.graph import Graph
from ..graph.repeated import with_repeated_nodes
from ..node.spec import NodeSpec
from .comfy_layout import mapping_in
from .native_inputs import read_input, write_input
from .native_nodes import read_entry, write_entry
from .native_parts import PartReader, check_file, write_part
from .native_values import as_mapping, refuse_unreadable, text_in, thaw, with_doubles
from .parsing import VERSION
from .yaml_text import as_yaml


def read_native(
    data: Mapping[Any, Any],
    specs: Mapping[str, NodeSpec] | None = None,
    folder: Path | None = None,
) -> Graph:
    """Read the graph of a parsed file.

    Args:
        specs: the installed nodes; with them, former names of inputs become current ones.
        folder: where files lie whose parts it may import; None if it may not.

    Raises:
        FormatError: a part of the file is not what the format has there.
    """
    check_file(data)
    entries = as_mapping(data.get("nodes"), "nodes")
    declared = as_mapping(data.get("inputs"), "inputs")
    inputs = {str(name): read_input(str(name), entry) for name, entry in declared.items()}
    layout = as_mapping(data.get("layout"), "layout")
    declared_parts = as_mapping(data.get("parts"), "parts")
    read = {str(id): read_entry(str(id), v, specs or {}, layout) for id, v in entries.items()}
    parts = PartReader(declared_parts, specs or {}, folder).read_all()
    read, parts = with_repeated_nodes(read, parts, specs or {})
    lists = {name: graph_input.default for name, graph_input in inputs.items()}
    body = expand(read, parts, lists)
    return Graph(
        nodes=body.nodes,
        inputs=inputs,
        title=text_in(data, "title"),
        description=text_in(data, "description"),
        layout=layout,
        parts=parts,
        uses=body.uses,
        passes=body.passes,
        sweep=_read_sweep(data),
        expect=_read_expect(data),
    )


def to_native(graph: Graph) -> dict[str, Any]:
    """Return a graph as plain values, in the order of a file.

    Raises:
        FormatError: a part of the graph would not be read back unchanged.
    """
    file: dict[str, Any] = {"latentloom": VERSION}
    if graph.title:
        file["title"] = graph.title
    if graph.description:
        file["description"] = graph.description
    if graph.inputs:
        file["inputs"] = {
            name: write_input(graph_input) for name, graph_input in graph.inputs.items()
        }
    declared = {name: part for name, part in graph.parts.items() if not part.is_node}
    if declared:
        file["parts"] = {name: write_part(name, part, declared) for name, part in declared.items()}
    lists = {name: graph_input.default for name, graph_input in graph.inputs.items()}
    entries = fold(graph.body, graph.parts, lists)
    file["nodes"] = {id: write_entry(id, entry, graph.parts) for id, entry in entries.items()}
    if graph.sweep:
        file["sweep"] = thaw(graph.sweep)
    if graph.expect:
        file["expect"] = thaw(graph.expect)
    layout = _layout_of(graph)
    if layout:
        file["layout"] = thaw(layout)
    return refuse_unreadable({key: with_doubles(value) for key, value in file.items()})


def _read_sweep(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the block `sweep:`, checked."""
    block = as_mapping(data.get("sweep"), "sweep")
    if block:
        read_axes(block)
    return block


def _read_expect(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the block `expect:`, checked."""
    block = as_mapping(data.get("expect"), "expect")
    read_expectations(block)
    return block


def _layout_of(graph: Graph) -> Mapping[str, Any]:
    """Return the layout, with the packs of nodes that a prompt names."""
    packs = {
        id: {"properties": dict(node.extra["_meta"])}
        for id, node in graph.nodes.items()
        if node.extra.get("_meta")
    }
    decorations = {**packs, **mapping_in(graph.layout, "nodes")}
    return {**graph.layout, "nodes": decorations} if packs else graph.layout


def write_json(graph: Graph) -> str:
    """Return a graph as native JSON."""
    return json.dumps(to_native(graph), indent=2, ensure_ascii=False) + "\n"


def write_yaml(graph: Graph) -> str:
    """Return a graph as native YAML: a node on one line if it fits, strings as block literals."""
    return as_yaml(to_native(graph))
