"""Workflow files of the ComfyUI editor -> Graph: subgraphs, primitives, reroutes, bypass, mute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import Document, Graph
from ..node.spec import NodeSpec
from .comfy_groups import groups_in
from .comfy_layout import read_layout
from .comfy_level import (
    Level,
    definitions_in,
)
from .comfy_parts import read_parts, settled, shared_values
from .comfy_reader import WorkflowReader
from .native_marks import title_in

Specs = Mapping[str, NodeSpec]


def read_workflow(data: Mapping[str, Any], specs: Specs) -> Graph:
    """Read the graph of a workflow file.

    A node that is not installed keeps its links and values, so that only a run that needs it
    fails.

    Args:
        specs: the installed nodes, which give the order of the widgets' values.

    Raises:
        FormatError: the file has another shape than the editor writes, or a cycle of reroutes.
    """
    definitions = {definition["id"]: definition for definition in definitions_in(data, 0)}
    reader = WorkflowReader(specs, definitions, groups_in(data))
    root = Level(data, "", None, None)
    try:
        reader.read(root)
    except RecursionError as error:
        raise FormatError("a link passes through too many reroutes and subgraphs") from error
    nodes = settled(reader.nodes)
    parts, uses = read_parts(root, reader, nodes)
    layout = read_layout(root, [*nodes, *uses])
    document = Document("editor", data, tuple(reader.left_out), shared_values(root, reader, nodes))
    return Graph(
        nodes, title=title_in(data), layout=layout, document=document, parts=parts, uses=uses
    )
