"""Subgraphs of an editor's workflow as parts, and values that several of its nodes share.

A subgraph is read by itself, with its inputs open. Widgets inside that an instance gives a value of
its own, by proxies, become inputs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import FormatError
from ..graph.fold import find_values, is_same_literal
from ..graph.graph import IGNORED, InputRef, Link, Node
from ..graph.parts import Body, Part, PartInput, PartUse
from ..graph.records import SharedValue
from .comfy_level import BYPASSED, MUTED, Level, mode_of, sockets_of
from .comfy_reader import WorkflowReader
from .comfy_tokens import fill_tokens
from .names import free_name, slug


def settled(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Return the nodes of a reader with tokens filled in, and without links to missing nodes."""
    nodes = fill_tokens(dict(nodes))

    def without_dangling(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not isinstance(value, Link) or value.node in nodes
        }

    def settle(node: Node) -> Node:
        values = (*node.inputs.values(), *node.ignored.values())
        if all(not isinstance(value, Link) or value.node in nodes for value in values):
            return node
        ignored = without_dangling(node.ignored)
        extra = {key: value for key, value in node.extra.items() if key != IGNORED}
        extra |= {IGNORED: ignored} if ignored else {}
        return replace(node, inputs=without_dangling(node.inputs), extra=extra)

    return {id: settle(node) for id, node in nodes.items()}


def shared_values(
    root: Level, reader: WorkflowReader, nodes: Mapping[str, Node]
) -> tuple[SharedValue, ...]:
    """Return the values of primitives, with the inputs that they feed."""
    shared = []
    for id, inputs in reader.shared.items():
        held = tuple((node, name) for node, name in inputs if node in nodes)
        title = root.nodes[id].get("title") if id in root.nodes else None
        name = slug(title) if isinstance(title, str) else ""
        if held:
            shared.append(SharedValue(name or slug(held[0][1]), held))
    return tuple(shared)


def read_parts(
    root: Level, reader: WorkflowReader, nodes: Mapping[str, Node]
) -> tuple[dict[str, Part], dict[str, PartUse]]:
    """Return the subgraphs of a workflow as parts, and their instances in its root as uses.

    Those whose nodes differ more than by values are left out: their nodes stand one by one.

    Args:
        nodes: of the graph, those of each instance under ids that begin with its own.
    """
    parts: dict[str, Part] = {}
    uses: dict[str, PartUse] = {}
    if not reader.definitions:
        return parts, uses
    by_prefix = _by_instance(nodes)
    instances: dict[str, list[str]] = {}
    for id, node in root.nodes.items():
        is_active = mode_of(node) not in (MUTED, BYPASSED)
        if is_active and id in by_prefix and node["type"] in reader.definitions:
            instances.setdefault(node["type"], []).append(id)
    for definition_id, ids in instances.items():
        definition = reader.definitions[definition_id]
        try:
            part = _read_part(definition, reader)
        except (FormatError, RecursionError):
            continue
        rows = [{inner: nodes[f"{id}:{inner}"] for inner in by_prefix[id]} for id in ids]
        rows = [row for row in rows if row.keys() == part.body.nodes.keys()]
        part = _with_optional(_with_own_values(part, rows), rows)
        title = str(definition.get("name", ""))
        name = free_name(slug(title) or "part", parts)
        for id in ids:
            held = root.nodes[id].get("title")
            use = PartUse(
                part=name,
                nodes={inner: f"{id}:{inner}" for inner in part.body.nodes},
                title=held if isinstance(held, str) and held != title else "",
            )
            if find_values(part, use, nodes) is not None:
                uses[id], parts[name] = use, part
    return parts, uses


def _by_instance(nodes: Iterable[str]) -> dict[str, list[str]]:
    """Return the ids inside each instance of the root, by the id of the instance."""
    by_instance: dict[str, list[str]] = {}
    for id in nodes:
        instance, colon, inner = id.partition(":")
        if colon:
            by_instance.setdefault(instance, []).append(inner)
    return by_instance


def _read_part(definition: Mapping[str, Any], reader: WorkflowReader) -> Part:
    """Return a subgraph as a part, whose inputs have the values of the widgets that they feed."""
    level = Level(definition, "", None, None, is_part=True)
    inside = WorkflowReader(reader.specs, reader.definitions, reader.groups)
    inside.read(level)
    closed = WorkflowReader(reader.specs, reader.definitions, reader.groups)
    closed.read(Level(definition, "", None, None))
    names: dict[str, str] = {}
    inputs: dict[str, PartInput] = {}
    for slot, port in enumerate(sockets_of(definition, "inputs")):
        name = free_name(slug(str(port.get("name", ""))) or "input", inputs)
        names[str(slot)] = name
        inputs[name] = PartInput(type=str(port.get("type", "")), optional=True)

    def renamed(value: Any) -> Any:
        return InputRef(names[value.name]) if isinstance(value, InputRef) else value

    nodes = {
        id: replace(node, inputs={port: renamed(value) for port, value in node.inputs.items()})
        for id, node in settled(inside.nodes).items()
    }
    for id, node in nodes.items():
        for socket, value in node.inputs.items():
            default = closed.nodes[id].inputs.get(socket) if isinstance(value, InputRef) else None
            if default is not None and not isinstance(default, Link):
                name = value.name
                inputs[name] = replace(inputs[name], default=default, optional=False)
    outputs: dict[str, Any] = {}
    for slot, port in enumerate(sockets_of(definition, "outputs")):
        source = inside.inside(level, slot, str(port.get("type", "*")), frozenset())
        value = source if isinstance(source, Link) or source is None else renamed(source[0])
        if value is not None and not (isinstance(value, Link) and value.node not in nodes):
            outputs[free_name(slug(str(port.get("name", ""))) or "output", outputs)] = value
    return Part(body=Body(nodes=nodes), inputs=inputs, outputs=outputs)


def _with_optional(part: Part, rows: list[dict[str, Node]]) -> Part:
    """Return the part with the inputs as optional that not every instance gives a value."""

    def is_given(name: str) -> bool:
        return all(port in row[id].inputs for row in rows for id, port in part.ports_of(name))

    inputs = {
        name: replace(item, optional=item.optional and not is_given(name))
        for name, item in part.inputs.items()
    }
    return replace(part, inputs=inputs)


def _with_own_values(part: Part, rows: list[dict[str, Node]]) -> Part:
    """Return the part with an input for each literal inside that an instance has another of."""
    inputs, nodes = dict(part.inputs), dict(part.body.nodes)
    for id, template in part.body.nodes.items():
        for port, value in template.inputs.items():
            if isinstance(value, Link | InputRef):
                continue
            held = [row[id].inputs.get(port) for row in rows]
            if all(is_same_literal(item, value) for item in held):
                continue
            name = free_name(slug(port) or "input", inputs)
            inputs[name] = PartInput(default=value)
            given = {**nodes[id].inputs, port: InputRef(name)}
            nodes[id] = replace(nodes[id], inputs=given)
    return replace(part, inputs=inputs, body=Body(nodes=nodes))
