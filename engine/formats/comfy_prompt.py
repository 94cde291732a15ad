"""ComfyUI's API JSON: `{id: {class_type, inputs}}`, links as `[id, index]`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import (
    CONVERTED,
    IGNORED,
    PACK,
    POSITIONAL,
    UNREAD,
    Document,
    Graph,
    InputRef,
    Link,
    Node,
)
from ..graph.records import MIGRATED, NODE_VERSION
from ..node.spec import NodeSpec
from .comfy_placeholders import VERSION_PROPERTY, pack_of, version_of
from .comfy_values import convert, lossy_values
from .known_nodes import required_defaults
from .native_values import refuse_unreadable, thaw
from .output_names import declared

Specs = Mapping[str, NodeSpec]


def is_prompt(data: Any) -> bool:
    """Return whether parsed JSON is in ComfyUI's API format."""
    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(
            isinstance(entry, Mapping)
            and isinstance(entry.get("class_type"), str)
            and isinstance(entry.get("inputs"), Mapping)
            for entry in data.values()
        )
    )


def is_editor_workflow(data: Any) -> bool:
    """Return whether parsed JSON is a workflow saved by ComfyUI's editor."""
    return isinstance(data, Mapping) and isinstance(data.get("nodes"), list) and "links" in data


def read_prompt(
    data: Mapping[str, Any], specs: Specs | None = None, clamp_seeds: bool = False
) -> Graph:
    """Read the graph of a prompt, converting values as ComfyUI does.

    Args:
        clamp_seeds: limit seeds to their range, as ComfyUI's editor does for files.

    Former names of inputs become current ones. ComfyUI ignores unknown keys, and inputs that an
    installed node does not have; they are stored in `Node.extra`, and written back.
    """
    nodes = {id: _read_node(entry, specs or {}, clamp_seeds) for id, entry in data.items()}
    return Graph(nodes, document=Document("comfy", data))


def write_prompt(graph: Graph, specs: Specs) -> dict[str, Any]:
    """Return a graph as a prompt, with graph inputs replaced by their values.

    Raises:
        FormatError: the index of an output is unknown, as its node is not installed; or JSON
            cannot hold a value.
    """
    graph = graph.bound()
    return refuse_unreadable(
        {id: _write_node(graph, id, node, specs) for id, node in graph.nodes.items()}
    )


def write_prompt_json(graph: Graph, specs: Specs) -> str:
    """Return a graph as the text of a prompt file."""
    return json.dumps(write_prompt(graph, specs), indent=2, ensure_ascii=False) + "\n"


def _read_node(entry: Mapping[str, Any], specs: Specs, clamp_seeds: bool) -> Node:
    spec = specs.get(entry["class_type"])
    values = {str(name): _read_value(value) for name, value in entry["inputs"].items()}
    meta = entry.get("_meta")
    details = dict(meta) if isinstance(meta, Mapping) else {}
    title = details.pop("title", "")
    version = version_of(details)
    if version:
        del details[VERSION_PROPERTY]
    extra: dict[str, Any] = {
        key: value for key, value in entry.items() if key not in ("class_type", "inputs", "_meta")
    }
    extra |= {"_meta": details} if details else {}
    extra |= pack_of(entry["class_type"], details, specs) | version
    if spec is not None:
        values = spec.current_names(values)
        spec = spec.fitted(values)
        ignored = {name: value for name, value in values.items() if spec.port(name) is None}
        lossy = lossy_values(spec, values, clamp_seeds)
        values = {
            name: convert(spec.port(name), value, clamp_seeds)
            for name, value in values.items()
            if name not in ignored
        }
        extra |= {IGNORED: ignored} if ignored else {}
        extra |= {CONVERTED: lossy} if lossy else {}
    return Node(entry["class_type"], values, title if isinstance(title, str) else "", extra)


def _read_value(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        id, index = value
        if isinstance(id, str) and isinstance(index, int) and not isinstance(index, bool):
            return Link(id, index)
    if isinstance(value, Mapping) and value.keys() == {"__value__"}:
        return value["__value__"]
    return value


def _write_node(graph: Graph, id: str, node: Node, specs: Specs) -> dict[str, Any]:
    entry = _entry(graph, id, node, specs)
    document = graph.document
    if node.type not in specs and document is not None and document.form == "comfy":
        held = document.data.get(id)
        if held is not None and _entry(graph, id, _read_node(held, {}, True), specs) == entry:
            return dict(held)  # a placeholder is written as it was read
    return entry


def _entry(graph: Graph, id: str, node: Node, specs: Specs) -> dict[str, Any]:
    inputs = {
        name: _write_value(graph, f"{node.type} ({id}) .{name}", value, specs)
        for name, value in node.inputs.items()
    }
    for name, value in _required_defaults(node, specs).items():
        inputs.setdefault(name, thaw(value))
    for name, value in node.ignored.items():
        inputs.setdefault(name, _write_value(graph, f"{node.type} ({id}) .{name}", value, specs))
    entry: dict[str, Any] = {"class_type": node.type, "inputs": inputs}
    own = (IGNORED, UNREAD, CONVERTED, POSITIONAL, PACK, MIGRATED, NODE_VERSION)
    entry |= {key: thaw(value) for key, value in node.extra.items() if key not in own}
    if node.version:
        entry["_meta"] = {**entry.get("_meta", {}), VERSION_PROPERTY: node.version}
    if node.title:
        entry["_meta"] = {"title": node.title, **entry.get("_meta", {})}
    return entry


def _required_defaults(node: Node, specs: Specs) -> Mapping[str, Any]:
    """Return the defaults of the inputs that ComfyUI requires of an installed core node."""
    spec, known = specs.get(node.type), required_defaults(node.type)
    if spec is None or known is None:
        return {}
    return {
        port.name: port.default
        for port in spec.fitted(node.inputs).inputs
        if port.name.partition(".")[0] in known
        and not port.is_required
        and port.default is not None
    }


def _write_value(graph: Graph, where: str, value: Any, specs: Specs) -> Any:
    if isinstance(value, Link):
        return [value.node, _index(graph, where, value, specs)]
    if isinstance(value, InputRef):
        raise FormatError(f"{where}: the graph has no input for {value}")
    plain = thaw(value)
    looks_marked = isinstance(plain, dict) and plain.keys() == {"__value__"}
    return {"__value__": plain} if looks_marked or isinstance(plain, list) else plain


def _index(graph: Graph, where: str, link: Link, specs: Specs) -> int:
    if isinstance(link.output, int):
        return link.output
    origin = graph.nodes.get(link.node)
    spec = declared(origin.type, specs) if origin else None
    index = spec.output_index(link.output) if spec else None
    if index is None:
        kind = origin.type if origin else "a missing node"
        raise FormatError(
            f"{where}: expected an output of a node that is known, got {link} of {kind}"
        )
    return index
