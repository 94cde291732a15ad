"""Parts of a graph that a form of file cannot hold, for whoever converts a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..graph.graph import CONVERTED, IGNORED, PACK, POSITIONAL, UNREAD, Graph
from ..graph.literal import describe_value
from ..graph.records import MIGRATED, NODE_VERSION
from .comfy_layout import LEFT_OUT, NOTES, list_in, mapping_in
from .native_marks import carried_inputs

_MODES = ("randomize", "increment", "decrement")
_OWN = frozenset({CONVERTED, IGNORED, MIGRATED, NODE_VERSION, PACK, POSITIONAL, UNREAD, "_meta"})


class Loss(NamedTuple):
    """A part of a graph that is not in the written file.

    Attributes:
        node, type: of the node that it belongs to; empty if it belongs to the file.
    """

    node: str
    type: str
    text: str

    def __str__(self) -> str:
        subject = f"{self.type} ({self.node})" if self.node else "the file"
        return f"{subject}: {self.text}"


def losses(graph: Graph, form: str) -> list[Loss]:
    """Return what a graph, just read, holds that a file of this form will not.

    Args:
        form: as in `dump_graph`.
    """
    document = graph.document
    if document is not None and document.form == form:
        return []
    lost = list(_left_out(graph, form))
    lost += _node_losses(graph, form)
    lost += _control_losses(graph)
    if form == "comfy":
        lost += _layout_losses(graph)
    if form in ("comfy", "editor"):
        carried = carried_inputs(graph) if form == "editor" else frozenset()
        lost += [
            Loss("", "", f"the input {name!r} is written as its value where it is used")
            for name in graph.inputs
            if name not in carried
        ]
    if form == "comfy":
        texts = (("title", graph.title), ("description", graph.description))
        lost += [Loss("", "", f"the {key} is left out") for key, text in texts if text]
        lost += [Loss("", "", "the sweep is left out")] if graph.sweep else []
        lost += [Loss("", "", "the expectations are left out")] if graph.expect else []
    return lost


def _left_out(graph: Graph, form: str) -> Iterator[Loss]:
    held = {str(node.get("id")) for node in list_in(graph.layout, LEFT_OUT)}
    for id, type, reason in graph.document.left_out if graph.document is not None else ():
        is_note = type in NOTES and ":" not in id
        is_part = form != "comfy" and id in graph.uses
        if not is_note and not is_part and (form == "comfy" or id not in held):
            yield Loss(id, type, f"left out: {reason}")


def _node_losses(graph: Graph, form: str) -> Iterator[Loss]:
    for id, node in graph.nodes.items():
        if form == "comfy" and node.positional:
            values = ", ".join(map(describe_value, node.positional))
            yield Loss(id, node.type, f"its values have no names, and are left out: {values}")
        unnamed = [str(key) for key in node.extra if key not in _OWN]
        if form != "comfy" and unnamed:
            yield Loss(id, node.type, f"left out: {', '.join(unnamed)}")


def _control_losses(graph: Graph) -> Iterator[Loss]:
    """Yield the nodes whose seed the editor changes after each run."""
    data = graph.document.data if graph.document is not None else {}
    listed = data.get("nodes") if graph.document and graph.document.form == "editor" else None
    for node in listed if isinstance(listed, list) else ():
        values = node.get("widgets_values")
        modes = [value for value in values if value in _MODES] if isinstance(values, list) else []
        if modes and str(node["id"]) in graph.nodes:
            yield Loss(str(node["id"]), node["type"], f"its seed stays as it is: {modes[0]}")


def _layout_losses(graph: Graph) -> Iterator[Loss]:
    decorations = len(mapping_in(graph.layout, "nodes"))
    groups, notes = list_in(graph.layout, "groups"), list_in(graph.layout, "notes")
    counts = (
        (decorations, f"positions, colours and properties of {decorations} nodes"),
        (len(groups), f"{len(groups)} groups"),
        (len(notes), f"{len(notes)} notes"),
        (len(mapping_in(graph.layout, "workflow")), "settings of the editor"),
    )
    held = [text for count, text in counts if count]
    if held:
        yield Loss("", "", f"left out: {', '.join(held)}")
