"""Graph -> the workflow file that ComfyUI's editor opens: nodes with positions, links, values.

Reading is in `comfy_editor`. Uses of parts are instances of subgraphs.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph
from ..node.spec import NodeSpec
from .comfy_editor import read_workflow
from .comfy_layout import list_in, mapping_in, note_node
from .comfy_modes import with_left_out
from .comfy_subgraphs import NAMESPACE, split_level
from .comfy_writer import LevelWriter
from .native_marks import write_marks
from .native_values import refuse_unreadable, thaw
from .output_names import outputs_by_index

Specs = Mapping[str, NodeSpec]


def write_workflow(graph: Graph, specs: Specs) -> dict[str, Any]:
    """Return a graph as a workflow, version 0.4, with graph inputs replaced by their values.

    Positions, groups, notes and unknown keys come from the graph's layout. A node that nothing
    declares gets the inputs and outputs that the graph uses. Names, inputs and title are under
    `extra`, for who reads the file again.

    Raises:
        FormatError: the graph has a cycle, or a link to an output that does not exist.
    """
    native, graph = graph, graph.bound()
    if graph.cycle() is not None:
        raise FormatError("the editor's form cannot hold a cycle")
    level = split_level(graph, specs)
    writer = LevelWriter(level.graph, {**specs, **level.specs})
    nodes = [writer.node(id) for layer in level.graph.generations for id in layer]
    last = max((node["id"] for node in nodes), default=0)
    notes = _notes(graph)
    nodes += [note_node(note, last + index) for index, note in enumerate(notes, 1)]
    definitions = level.definitions(last + len(notes))
    numbers = level.numbers(writer.numbers)
    carried = thaw(mapping_in(graph.layout, "workflow"))
    marks = write_marks(native, writer.numbers, numbers)
    extra = {"ds": {"scale": 0.7, "offset": [140, 160]}, **mapping_in(carried, "extra"), **marks}
    file = refuse_unreadable(
        {
            "id": str(uuid.uuid5(NAMESPACE, graph.title or "graph")),
            "revision": 0,
            "last_node_id": last + len(notes),
            "last_link_id": len(writer.links),
            "nodes": nodes,
            "links": writer.links,
            "groups": [thaw(group) for group in list_in(graph.layout, "groups")],
            "config": {},
            **definitions,
            "version": 0.4,
            **carried,
            "extra": extra,
        }
    )
    return with_left_out(file, graph, numbers, specs)


def _notes(graph: Graph) -> list[Mapping[str, Any]]:
    """Return the notes of a graph; the description is the text of the first without one."""
    notes = list_in(graph.layout, "notes")
    texts = [note for note in notes if "text" not in note]
    if not graph.description or texts:
        return [note if "text" in note else {**note, "text": graph.description} for note in notes]
    return [{"text": graph.description}, *notes]


def write_workflow_json(graph: Graph, specs: Specs) -> str:
    """Return a graph as the text of a workflow file; one that was read and not changed, as it was.

    Raises:
        FormatError: as in `write_workflow`.
    """
    document = graph.document
    if document is not None and document.form == "editor":
        before = read_workflow(document.data, specs)
        if _meaning(before, specs) == _meaning(graph, specs):
            return json.dumps(document.data, indent=2, ensure_ascii=False) + "\n"
    return json.dumps(write_workflow(graph, specs), indent=2, ensure_ascii=False) + "\n"


def _meaning(graph: Graph, specs: Specs) -> Any:
    return outputs_by_index(graph, specs).nodes, graph.layout
