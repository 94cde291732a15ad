"""Names, inputs and title of a native graph inside a file of the editor, which has none of them.

They are under `extra.latentloom`, which the editor saves again as it is:

    title:  the title of the graph
    names:  {number of a node: its name}
    inputs: {name: {type, default, ..., for: [[number of a node, its input, index or null], ...]}}

A node that the editor added has a name like any other, and an input whose nodes no longer have
one value is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import FormatError
from ..graph.fold import is_same_literal
from ..graph.graph import Graph, GraphInput, InputRef, Link
from .comfy_layout import EXTRA, MARKS, mapping_in
from .native_inputs import read_input, write_input
from .native_values import thaw

FOR = "for"
_NAME = re.compile(r"[^\W\d][\w-]{0,99}")


def write_marks(
    graph: Graph, names: Mapping[str, int], numbers: Mapping[str, int | str]
) -> dict[str, Any]:
    """Return what `extra` gets; empty for a graph without names, inputs and title.

    Args:
        names: the numbers of the root's nodes and uses of parts in the written file, by name.
        numbers: those of all nodes; inside a part, with the number of the use.
    """
    ports: dict[str, list[list[Any]]] = {name: [] for name in graph.inputs if _is_name(name)}
    for id, node in graph.nodes.items():
        for port, value in node.inputs.items() if id in numbers else ():
            if isinstance(value, InputRef) and value.name in ports:
                ports[value.name].append([str(numbers[id]), port, value.index])
    marks = {
        "title": graph.title,
        "names": {str(number): id for id, number in names.items() if _is_name(id)},
        "inputs": {
            name: {**write_input(graph.inputs[name]), FOR: held} for name, held in ports.items()
        },
    }
    return {MARKS: held} if (held := {key: value for key, value in marks.items() if value}) else {}


def carried_inputs(graph: Graph) -> frozenset[str]:
    """Return the inputs of a graph that a file of the editor carries: those of its nodes."""
    values = (value for node in graph.nodes.values() for value in node.inputs.values())
    return frozenset(v.name for v in values if isinstance(v, InputRef) and _is_name(v.name))


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def marks_in(graph: Graph) -> Mapping[str, Any]:
    """Return what the file of a graph holds of a native one; empty for other files."""
    data = graph.document.data if graph.document is not None else {}
    return mapping_in(data, EXTRA, MARKS)


def title_in(data: Mapping[str, Any]) -> str:
    """Return the title that a file of the editor holds; empty if there is none."""
    title = mapping_in(data, EXTRA, MARKS).get("title")
    return title if isinstance(title, str) else ""


def names_in(graph: Graph) -> dict[str, str]:
    """Return names of nodes and uses by their ids, as far as the file of a graph has them."""
    held = mapping_in(marks_in(graph), "names")
    return {id: name for id, name in held.items() if isinstance(name, str) and _is_name(name)}


def with_marked_inputs(graph: Graph, before: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with the inputs that its file declares.

    Args:
        before: the graph as its file has it.
        names: the ids of nodes in the graph by those in its file.
    """
    inputs, nodes = dict(graph.inputs), dict(graph.nodes)
    for name, entry in mapping_in(marks_in(before), "inputs").items():
        try:
            declared = _read(name, entry)
        except FormatError:
            continue
        ports = [port for port in _ports(entry, names) if port[0] in nodes]
        held = [(nodes[id].inputs.get(port), index) for id, port, index in ports]
        value = _default(declared, held)
        if value is None or name in inputs:
            continue
        inputs[name] = replace(declared, default=value)
        for id, port, index in ports:
            ref = InputRef(name, index)
            nodes[id] = replace(nodes[id], inputs={**nodes[id].inputs, port: ref})
    return replace(graph, inputs=inputs, nodes=nodes)


def _read(name: str, entry: Any) -> GraphInput:
    if not isinstance(entry, Mapping) or not _is_name(name):
        raise FormatError(f"input {name}: expected a name and a mapping")
    return read_input(name, {key: thaw(value) for key, value in entry.items() if key != FOR})


def _ports(
    entry: Mapping[str, Any], names: Mapping[str, str]
) -> Iterator[tuple[str, str, int | None]]:
    listed = entry.get(FOR)
    for item in listed if isinstance(listed, list) else ():
        match item:
            case [str(id), str(port), None] if id in names:
                yield names[id], port, None
            case [str(id), str(port), int(index)] if id in names and not isinstance(index, bool):
                yield names[id], port, index


def _default(declared: GraphInput, held: list[tuple[Any, int | None]]) -> Any:
    """Return the value of an input from the values of its nodes; None if they have several."""
    if not held or any(isinstance(v, Link | InputRef) or v is None for v, _ in held):
        return None
    default = list(declared.default) if declared.is_list else [declared.default]
    values: dict[int, Any] = {}
    for value, index in held:
        if (index is None) == declared.is_list:
            return None
        if not is_same_literal(values.setdefault(index or 0, value), value):
            return None
    if not all(0 <= index < len(default) for index in values):
        return None
    default = [values.get(index, value) for index, value in enumerate(default)]
    return tuple(default) if declared.is_list else default[0]
