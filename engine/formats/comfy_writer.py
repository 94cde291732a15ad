"""Writes the nodes of one level of a workflow of the ComfyUI editor, with positions and links.

The layout has one column per generation of the graph, from left to right.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph, InputRef, Link, Node
from ..node.ports import ANY
from ..node.spec import NodeSpec, Output, Port
from .comfy_layout import NAME_PROPERTY, mapping_in
from .comfy_placeholders import VERSION_PROPERTY
from .comfy_values import is_image, is_widget, start_value
from .known_nodes import KnownNode, is_own_input, known_node
from .native_values import thaw

Specs = Mapping[str, NodeSpec]
WIDTH, GAP_X, GAP_Y = 300, 80, 60
INPUTS, OUTPUTS = -10, -20
MAX_OUTPUTS = 1000
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
TITLE, ROW, TEXT_ROWS, IMAGE_ROWS = 40, 26, 5, 10


@dataclass
class LevelWriter:
    """Numbers nodes and links, and lays out nodes, in topological order.

    Args:
        graph: the nodes of the root, or of a subgraph, in which an InputRef is one of its inputs.
        inputs: the inputs of the subgraph by name, with their defaults, in order.
        outputs: of the subgraph, in order.
        first: the first number of nodes that have none.
    """

    graph: Graph
    specs: Specs
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Link] = ()
    first: int = 1
    links: list[list[Any]] = field(default_factory=list)
    outgoing: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        order = [id for layer in self.graph.generations for id in layer]
        self.numbers = _numbers(order, self.first)
        self.declared: dict[str, NodeSpec] = {}
        self.order = {id: index for index, id in enumerate(order)}
        self.used_outputs = _used_outputs(self.graph)
        self.positions = self._lay_out()
        # An output lists the links that leave it, so that all links must be numbered first.
        self.incoming = {id: self._number_links(id) for id in order}
        for slot, link in enumerate(self.outputs):
            spec, index = self.spec(link.node), self._output_index(link, "an output")
            self._add_link(link.node, index, OUTPUTS, slot, spec.outputs[index].type)

    def node(self, id: str) -> dict[str, Any]:
        """Return one node of the file."""
        node, spec = self.graph.nodes[id], self.spec(id)
        linked = self.incoming[id]
        sockets = [port for port in spec.inputs if not is_widget(port)]
        widgets = [port for port in spec.inputs if is_widget(port)]
        shown = [_socket(port, linked.get(port.name)) for port in sockets]
        shown += [
            {**_socket(port, linked.get(port.name)), "widget": {"name": port.name}}
            for port in widgets
            if port.name in linked or isinstance(spec, PartSpec)
        ]
        entry: dict[str, Any] = {
            "id": self.numbers[id],
            "type": node.type,
            "pos": self.positions[id],
            "size": [WIDTH, height(spec)],
            "flags": {},
            "order": self.order[id],
            "mode": 0,
            "inputs": shown,
            "outputs": [
                {"name": output.name, "type": output.type, "links": self.outgoing.get((id, index))}
                for index, output in enumerate(spec.outputs)
            ],
            "widgets_values": _values(spec, self._with_defaults(node)),
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
        properties |= {VERSION_PROPERTY: node.version} if node.version else {}
        return {**entry, **decoration, "properties": properties}

    def _with_defaults(self, node: Node) -> Node:
        """Return a node with the defaults of the subgraph's inputs in its widgets."""
        held = {
            name: self.inputs[value.name] if isinstance(value, InputRef) else value
            for name, value in node.inputs.items()
        }
        return replace(node, inputs=held)

    def _number_links(self, id: str) -> dict[str, int]:
        """Number the links into a node; return input -> number."""
        spec, numbers = self.spec(id), {}
        ports = sorted(spec.inputs, key=is_widget)
        slots = {port.name: slot for slot, port in enumerate(ports)}
        for name, value in self.graph.nodes[id].inputs.items():
            if not isinstance(value, Link | InputRef):
                continue
            port, where = spec.port(name), f"{spec.name} ({id}) .{name}"
            if port is None:
                raise FormatError(f"{where}: there is no output {value}")
            ends = self.numbers[id], slots[name], port.type
            if isinstance(value, InputRef):
                if value.name not in self.inputs:
                    raise FormatError(f"{where}: the graph has no input for {value}")
                slot = tuple(self.inputs).index(value.name)
                numbers[name] = self._add_link(INPUTS, slot, *ends)
            else:
                index = self._output_index(value, where)
                numbers[name] = self._add_link(value.node, index, *ends)
        return numbers

    def _output_index(self, link: Link, where: str) -> int:
        index = self.spec(link.node).output_index(link.output)
        if index is None:
            raise FormatError(f"{where}: there is no output {link}")
        return index

    def _add_link(self, origin: str | int, index: int, target: int, slot: int, kind: str) -> int:
        """Add a link from a node by id, or from the inputs of the subgraph; return its number."""
        number = len(self.links) + 1
        start = origin if isinstance(origin, int) else self.numbers[origin]
        self.links.append([number, start, index, target, slot, kind])
        if isinstance(origin, str):
            self.outgoing.setdefault((origin, index), []).append(number)
        return number

    def spec(self, id: str) -> NodeSpec:
        """Return the declaration of a node: installed, known, or what the graph uses of it."""
        if id not in self.declared:
            node = self.graph.nodes.get(id)
            if node is None:
                raise FormatError(f"node {id}: expected a node of the graph, got none")
            installed = self.specs.get(node.type)
            spec = installed.fitted(node.inputs) if installed is not None else None
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
                top += height(self.spec(id)) + GAP_Y
        return positions


class PartSpec(KnownNode):
    """A part as the declaration of its uses."""


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


def _numbers(order: Sequence[str], first: int) -> dict[str, int]:
    """Return the editor's number of each node: its id if that is one, else the next free one."""
    numbers = {id: int(id) for id in order if _NUMBER.fullmatch(id)}
    free = itertools.count(max(numbers.values(), default=first - 1) + 1)
    return {id: numbers[id] if id in numbers else next(free) for id in order}


def _socket(port: Port, link: int | None) -> dict[str, Any]:
    return {"name": port.name, "type": port.type, "link": link}


def _values(spec: NodeSpec, node: Node) -> list[Any]:
    """Return the values of the widgets by position, with those that the editor adds itself."""
    values: list[Any] = []
    ports = [port for port in spec.inputs if is_widget(port)]
    while ports and ports[-1].name not in node.inputs and is_own_input(spec.name, ports[-1]):
        ports.pop()
    for port in ports:
        value = node.inputs.get(port.name, None if port.is_required else port.default)
        values.append(_value(port, None if isinstance(value, Link) else value))
        if port.seeded:
            values.append("fixed")
    if not isinstance(spec, PartSpec) and any(is_image(port) for port in spec.inputs):
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


def height(spec: NodeSpec) -> int:
    sockets = sum(not is_widget(port) for port in spec.inputs)
    rows = max(sockets, len(spec.outputs))
    for port in spec.inputs:
        if is_widget(port):
            rows += TEXT_ROWS if port.multiline else 1 + port.seeded
            rows += IMAGE_ROWS if is_image(port) else 0
    return TITLE + ROW * (rows + (IMAGE_ROWS if spec.output_node else 0))
