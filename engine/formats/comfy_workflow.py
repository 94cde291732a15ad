"""Graph -> the workflow file that ComfyUI's editor opens: nodes with positions, links, values.

Reading is in `comfy_editor`. The layout has one column per generation of the graph, from left to
right.
"""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph, Link, Node
from ..node.ports import ANY
from ..node.spec import NodeSpec, Output, Port
from .comfy_editor import read_workflow
from .comfy_layout import NAME_PROPERTY, list_in, mapping_in, note_node
from .comfy_modes import with_left_out
from .comfy_values import is_image, is_widget, start_value
from .known_nodes import KnownNode, known_node
from .native_values import refuse_unreadable, thaw
from .output_names import outputs_by_index

Specs = Mapping[str, NodeSpec]
NAMESPACE = uuid.UUID("6d6f2f4e-9c3b-5a7e-8f11-3f0c2b7a9d55")
WIDTH, GAP_X, GAP_Y = 300, 80, 60
MAX_OUTPUTS = 1000
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
TITLE, ROW, TEXT_ROWS, IMAGE_ROWS = 40, 26, 5, 10


def write_workflow(graph: Graph, specs: Specs) -> dict[str, Any]:
    """Return a graph as a workflow, version 0.4, with graph inputs replaced by their values.

    Positions, groups, notes and unknown keys come from the graph's layout. A node that nothing
    declares gets the inputs and outputs that the graph uses.

    Raises:
        FormatError: the graph has a cycle, or a link to an output that does not exist.
    """
    graph = graph.bound()
    if graph.cycle() is not None:
        raise FormatError("the editor's form cannot hold a cycle")
    writer = _Writer(graph, specs)
    nodes = [writer.node(id) for layer in graph.generations for id in layer]
    last = max((node["id"] for node in nodes), default=0)
    notes = _notes(graph)
    nodes += [note_node(note, last + index) for index, note in enumerate(notes, 1)]
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
            "extra": {"ds": {"scale": 0.7, "offset": [140, 160]}},
            "version": 0.4,
            **thaw(mapping_in(graph.layout, "workflow")),
        }
    )
    return with_left_out(file, graph, writer.numbers, specs)


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


@dataclass
class _Writer:
    """Numbers nodes and links, and lays out nodes, in topological order."""

    graph: Graph
    specs: Specs
    links: list[list[Any]] = field(default_factory=list)
    outgoing: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = [id for layer in self.graph.generations for id in layer]
        self.numbers = _numbers(order)
        self.declared: dict[str, NodeSpec] = {}
        self.order = {id: index for index, id in enumerate(order)}
        self.used_outputs = _used_outputs(self.graph)
        self.positions = self._lay_out()
        # An output lists the links that leave it, so that all links must be numbered first.
        self.incoming = {id: self._number_links(id) for id in order}

    def node(self, id: str) -> dict[str, Any]:
        """Return one node of the file."""
        node, spec = self.graph.nodes[id], self._spec(id)
        linked = self.incoming[id]
        sockets = [port for port in spec.inputs if not is_widget(port)]
        widgets = [port for port in spec.inputs if is_widget(port)]
        shown = [_socket(port, linked.get(port.name)) for port in sockets]
        shown += [
            {**_socket(port, linked[port.name]), "widget": {"name": port.name}}
            for port in widgets
            if port.name in linked
        ]
        entry: dict[str, Any] = {
            "id": self.numbers[id],
            "type": node.type,
            "pos": self.positions[id],
            "size": [WIDTH, _height(spec)],
            "flags": {},
            "order": self.order[id],
            "mode": 0,
            "inputs": shown,
            "outputs": [
                {"name": output.name, "type": output.type, "links": self.outgoing.get((id, index))}
                for index, output in enumerate(spec.outputs)
            ],
            "widgets_values": _values(spec, node),
        }
        entry |= {"title": node.title} if node.title else {}
        if node.positional:
            entry["widgets_values"] = thaw(tuple(node.positional))
        elif isinstance(spec, _Undeclared) and entry["widgets_values"]:
            names = [port.name for port in spec.inputs if is_widget(port)]
            named = zip(names, entry["widgets_values"], strict=True)
            entry["widgets_values_named"] = dict(named)
        decoration = thaw(mapping_in(self.graph.layout, "nodes", id))
        properties = {NAME_PROPERTY: node.type, **mapping_in(decoration, "properties")}
        return {**entry, **decoration, "properties": properties}

    def _number_links(self, id: str) -> dict[str, int]:
        """Number the links into a node; return input -> number."""
        spec, numbers = self._spec(id), {}
        ports = sorted(spec.inputs, key=is_widget)
        slots = {port.name: slot for slot, port in enumerate(ports)}
        for name, link in self.graph.nodes[id].links():
            port, origin = spec.port(name), self._spec(link.node)
            index = origin.output_index(link.output)
            if port is None or index is None:
                raise FormatError(f"{spec.name} ({id}) .{name}: there is no output {link}")
            number = len(self.links) + 1
            self.links.append(
                [number, self.numbers[link.node], index, self.numbers[id], slots[name], port.type]
            )
            self.outgoing.setdefault((link.node, index), []).append(number)
            numbers[name] = number
        return numbers

    def _spec(self, id: str) -> NodeSpec:
        """Return the declaration of a node: installed, known, or what the graph uses of it."""
        if id not in self.declared:
            node = self.graph.nodes.get(id)
            if node is None:
                raise FormatError(f"node {id}: expected a node of the graph, got none")
            spec = self.specs.get(node.type)
            if spec is None and not node.positional:
                spec = known_node(node.type, named=node.inputs)
                used = self.used_outputs.get(id, 0)
                spec = spec if spec is not None and _holds(spec, node, used) else None
            self.declared[id] = spec or _undeclared(node, self.used_outputs.get(id, 0))
        return self.declared[id]

    def _lay_out(self) -> dict[str, list[int]]:
        positions: dict[str, list[int]] = {}
        for column, layer in enumerate(self.graph.generations):
            top = 0
            for id in layer:
                positions[id] = [column * (WIDTH + GAP_X), top]
                top += _height(self._spec(id)) + GAP_Y
        return positions


class _Undeclared(KnownNode):
    """A node with the inputs and outputs that a graph uses of it."""


def _undeclared(node: Node, outputs: int) -> _Undeclared:
    ports = tuple(
        Port(name=name, type=ANY if isinstance(value, Link) else "COMBO")
        for name, value in node.inputs.items()
    )
    given = tuple(Output(ANY, ANY) for _ in range(outputs))
    return _Undeclared(name=node.type, category="", run=print, inputs=ports, outputs=given)


def _holds(spec: NodeSpec, node: Node, outputs: int) -> bool:
    """Return whether a declaration has every input that a node has, and so many outputs."""
    has_inputs = all(spec.port(name) is not None for name in node.inputs)
    return has_inputs and outputs <= len(spec.outputs)


def _used_outputs(graph: Graph) -> dict[str, int]:
    """Return the number of outputs that links use of each node, as far as they have an index."""
    used: dict[str, int] = {}
    for node in graph.nodes.values():
        for _, link in node.links():
            if isinstance(link.output, int):
                used[link.node] = max(used.get(link.node, 0), min(link.output, MAX_OUTPUTS) + 1)
    return used


def _numbers(order: Sequence[str]) -> dict[str, int]:
    """Return the editor's number of each node: its id if that is one, else the next free one."""
    numbers = {id: int(id) for id in order if _NUMBER.fullmatch(id)}
    free = itertools.count(max(numbers.values(), default=0) + 1)
    return {id: numbers[id] if id in numbers else next(free) for id in order}


def _socket(port: Port, link: int | None) -> dict[str, Any]:
    return {"name": port.name, "type": port.type, "link": link}


def _values(spec: NodeSpec, node: Node) -> list[Any]:
    """Return the values of the widgets by position, with those that the editor adds itself."""
    values: list[Any] = []
    for port in spec.inputs:
        if not is_widget(port):
            continue
        value = node.inputs.get(port.name, None if port.is_required else port.default)
        values.append(_value(port, None if isinstance(value, Link) else value))
        if port.seeded:
            values.append("fixed")
    if any(is_image(port) for port in spec.inputs):
        values.append("image")
    return values


def _value(port: Port, value: Any) -> Any:
    """Return a value as a widget holds it; for None, the value that the editor starts with."""
    if value is not None:
        return thaw(value)
    if port.type == "COMBO":
        return next(iter(port.options() or ("",)), "")
    start = start_value(port)
    return 0 if start is None else start


def _height(spec: NodeSpec) -> int:
    sockets = sum(not is_widget(port) for port in spec.inputs)
    rows = max(sockets, len(spec.outputs))
    for port in spec.inputs:
        if is_widget(port):
            rows += TEXT_ROWS if port.multiline else 1 + port.seeded
            rows += IMAGE_ROWS if is_image(port) else 0
    return TITLE + ROW * (rows + (IMAGE_ROWS if spec.output_node else 0))
