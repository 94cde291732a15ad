"""Parts of an editor's file besides the graph: positions, colours, groups, notes, unknown keys.

`Graph.layout` carries it from file to file:

    nodes:    {id: {pos, size, color, properties, ...}}   of nodes outside of subgraphs
    groups:   the groups, as the editor writes them
    notes:    [{text, title, pos, size, ...}]
    left_out: the muted and bypassed nodes, each with its links as
              [origin, output index, target, input]
    workflow: the remaining keys of the file
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .comfy_level import BYPASSED, MUTED, Level, mode_of, sockets_of
from .comfy_placeholders import VERSION_PROPERTY
from .comfy_virtual import VIRTUAL
from .parsing import MAX_VALUE, MIN_SIZE

NOTES = frozenset({"Note", "MarkdownNote"})
NAME_PROPERTY = "Node name for S&R"
LEFT_OUT = "left_out"
EXTRA, MARKS = "extra", "latentloom"
"""Where a file carries names, inputs and title of a native graph: see `native_marks`."""
MAX_LEVELS_CARRIED = 40
_GRAPH_KEYS = frozenset(
    {"nodes", "links", "groups", "definitions", "config", "version", "state", "floatingLinks"}
    | {"last_node_id", "last_link_id", "reroutes"}
)
_NODE_KEYS = frozenset(
    {"id", "type", "title", "inputs", "outputs", "order", "mode"}
    | {"widgets_values", "widgets_values_named"}
)


def read_layout(level: Level, ids: Sequence[str]) -> dict[str, Any]:
    """Return the layout of the root of a workflow.

    Args:
        ids: the nodes that the graph has.
    """
    carried, data = frozenset(ids), level.data
    layout = {
        "nodes": {
            id: decoration
            for id, node in level.nodes.items()
            if id in carried and (decoration := node_layout(node))
        },
        "groups": _plain(data.get("groups")),
        "notes": [_note(node) for node in level.nodes.values() if node["type"] in NOTES],
        LEFT_OUT: list(_left_out(level)),
        "workflow": {
            str(key): _plain(value)
            for key, value in without_marks(data).items()
            if key not in _GRAPH_KEYS and value not in ({}, [], None)
        },
    }
    return {key: value for key, value in layout.items() if value}


def without_marks(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a file without what it carries of a native graph, which is read apart."""
    extra = data.get(EXTRA)
    if not isinstance(extra, Mapping) or MARKS not in extra:
        return data
    return {**data, EXTRA: {key: value for key, value in extra.items() if key != MARKS}}


def _left_out(level: Level) -> Iterator[dict[str, Any]]:
    """Yield the muted and bypassed nodes as in the file, with their links by id and name."""
    chosen = {
        id: node
        for id, node in level.nodes.items()
        if mode_of(node) in (MUTED, BYPASSED) and node["type"] not in VIRTUAL
    }
    links: dict[str, list[Any]] = {id: [] for id in chosen}
    for id, node in level.nodes.items() if chosen else ():
        for socket in sockets_of(node, "inputs"):
            link = level.links.get(str(socket.get("link")))
            if link is None or socket.get("link") is None:
                continue
            owner = id if id in chosen else link[0]
            if owner in chosen:
                links[owner].append([link[0], link[1], id, str(socket.get("name"))])
    for id, node in chosen.items():
        yield {**_plain(node), "id": id, "links": links[id]}


def node_layout(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node of the editor holds besides its type, title, values and links."""
    decoration = {str(key): _plain(value) for key, value in node.items() if key not in _NODE_KEYS}
    properties = decoration.get("properties")
    if isinstance(properties, dict):
        properties.pop(VERSION_PROPERTY, None)
        if properties.get(NAME_PROPERTY) == node["type"]:
            del properties[NAME_PROPERTY]
    return {key: value for key, value in decoration.items() if value not in ({}, [], None)}


def _note(node: Mapping[str, Any]) -> dict[str, Any]:
    values = node.get("widgets_values")
    text = values[0] if isinstance(values, list) and values else ""
    note: dict[str, Any] = {"text": text if isinstance(text, str) else str(text)}
    if node["type"] != "Note":
        note["type"] = node["type"]
    if isinstance(node.get("title"), str):
        note["title"] = node["title"]
    return note | node_layout(node)


def note_node(note: Mapping[str, Any], id: int) -> dict[str, Any]:
    """Return a note as a node of the editor."""
    own = {key: value for key, value in note.items() if key not in ("text", "type")}
    type_name = note.get("type")
    return {
        "id": id,
        "type": type_name if type_name in NOTES else "Note",
        "pos": [0, -200],
        "size": [300, 150],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        **own,
        "widgets_values": [str(note.get("text", ""))],
    }


def mapping_in(layout: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return a mapping inside a layout; empty if there is none."""
    value: Any = layout
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def list_in(layout: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the mappings in a list of a layout."""
    value = layout.get(key)
    listed = value if isinstance(value, list | tuple) else ()
    return [item for item in listed if isinstance(item, Mapping)]


def _plain(value: Any, levels: int = MAX_LEVELS_CARRIED) -> Any:
    """Return a value as a native file can hold it: huge integers as floats, bounded nesting."""
    if isinstance(value, Mapping):
        items = value.items() if levels else ()
        return {str(key): _plain(item, levels - 1) for key, item in items}
    if isinstance(value, list):
        return [_plain(item, levels - 1) for item in value] if levels else []
    if isinstance(value, int) and not MIN_SIZE <= value <= MAX_VALUE:
        try:
            return float(value)
        except OverflowError:
            return None
    return value
