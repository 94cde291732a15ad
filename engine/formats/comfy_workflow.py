"""Graph -> the workflow file that ComfyUI's editor opens: nodes with positions, links, values.

Reading is in `comfy_editor`. The layout has one column per generation of the graph, from left to
right.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph, Link, Node
from ..node.spec import NodeSpec, Port
from .comfy_values import is_image, is_widget, start_value
from .native import thaw

Specs = Mapping[str, NodeSpec]
NAMESPACE = uuid.UUID("6d6f2f4e-9c3b-5a7e-8f11-3f0c2b7a9d55")
WIDTH, GAP_X, GAP_Y = 300, 80, 60
TITLE, ROW, TEXT_ROWS, IMAGE_ROWS = 40, 26, 5, 10


def write_workflow(graph: Graph, specs: Specs) -> dict[str, Any]:
    """Return a graph as a workflow, version 0.4, with graph inputs replaced by their values.

    Raises:
        FormatError: a node is not installed, so that the order of its widgets is unknown.
    """
    graph = graph.bound()
    writer = _Writer(graph, specs)
    nodes = [writer.node(id) for layer in graph.generations for id in layer]
    return {
        "id": str(uuid.uuid5(NAMESPACE, graph.title or "graph")),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(writer.links),
        "nodes": nodes,
        "links": writer.links,
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 0.7, "offset": [140, 160]}},
        "version": 0.4,
    }


@dataclass
class _Writer:
    """Numbers nodes and links, and lays out nodes, in topological order."""

    graph: Graph
    specs: Specs
    links: list[list[Any]] = field(default_factory=list)
    outgoing: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = [id for layer in self.graph.generations for id in layer]
        self.numbers = {id: number for number, id in enumerate(order, 1)}
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
            "order": self.numbers[id] - 1,
            "mode": 0,
            "inputs": shown,
            "outputs": [
                {"name": output.name, "type": output.type, "links": self.outgoing.get((id, index))}
                for index, output in enumerate(spec.outputs)
            ],
            "properties": {"Node name for S&R": node.type},
            "widgets_values": _values(spec, node),
        }
        return entry | ({"title": node.title} if node.title else {})

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
        node = self.graph.nodes.get(id)
        spec = self.specs.get(node.type) if node is not None else None
        if spec is None:
            got = f"{node.type}, which is not installed" if node is not None else "none"
            raise FormatError(f"node {id}: expected an installed node, got {got}")
        return spec

    def _lay_out(self) -> dict[str, list[int]]:
        positions: dict[str, list[int]] = {}
        for column, layer in enumerate(self.graph.generations):
            top = 0
            for id in layer:
                positions[id] = [column * (WIDTH + GAP_X), top]
                top += _height(self._spec(id)) + GAP_Y
        return positions


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
