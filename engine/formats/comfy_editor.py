"""Workflow files of the ComfyUI editor -> Graph: subgraphs, primitives, reroutes, bypass, mute.

The rules are those of the editor when it turns a workflow into a prompt. Ids of nodes inside a
subgraph are `instance:inner`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import FormatError
from ..graph.graph import CONVERTED, IGNORED, UNREAD, Graph, Link, Node
from ..node.spec import NodeSpec
from .comfy_groups import WidgetValues, as_subgraph, group_of, group_widget_values, groups_in
from .comfy_proxies import MAX_DEPTH, own_values, proxies
from .comfy_tokens import fill_tokens
from .comfy_values import (
    connects,
    held_values,
    ignored_values,
    is_widget,
    lossy_values,
    unread_values,
    widget_values,
)

Specs = Mapping[str, NodeSpec]
Value = Link | tuple[Any] | None
"""The source of an input: an output, a value in a tuple of one, or nothing."""

MUTED, BYPASSED = 2, 4
SET, GET = "SetNode", "GetNode"
VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode", SET, GET})
INPUTS, OUTPUTS = "-10", "-20"
MAX_NODES, MAX_LEVELS = 100_000, 10_000
_NUMBER = re.compile(r"[0-9]{1,18}")


def read_workflow(data: Mapping[str, Any], specs: Specs) -> Graph:
    """Read the graph of a workflow file.

    A node that is not installed keeps its links, so that only a run that needs it fails.

    Args:
        specs: the installed nodes, which give the order of the widgets' values.

    Raises:
        FormatError: the file has another shape than the editor writes, or a cycle of reroutes.
    """
    definitions = {definition["id"]: definition for definition in _definitions(data, 0)}
    reader = _Reader(specs, definitions, groups_in(data))
    try:
        reader.read(_Level(data, "", None, None))
    except RecursionError as error:
        raise FormatError("a link passes through too many reroutes and subgraphs") from error
    nodes = fill_tokens(reader.nodes)

    def without_dangling(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not isinstance(value, Link) or value.node in nodes
        }

    return Graph(
        {
            id: Node(
                node.type,
                without_dangling(node.inputs),
                node.title,
                _extra(without_dangling(node.ignored), node.unread, node.converted),
            )
            for id, node in nodes.items()
        }
    )


@dataclass(frozen=True, eq=False)
class _Level:
    """The root of a workflow, or one instance of a subgraph.

    Attributes:
        data: the nodes and links, as in the file.
        prefix: of the ids of its nodes.
        parent, instance: the level and the node that this is an instance of; None for the root.
        outer_values: values that the instance gives to widgets inside.
    """

    data: Mapping[str, Any]
    prefix: str
    parent: _Level | None
    instance: Mapping[str, Any] | None
    outer_values: WidgetValues = field(default_factory=dict)

    @cached_property
    def nodes(self) -> dict[str, Mapping[str, Any]]:
        """Node id -> node; of two nodes with one id the second gets the next free id."""
        nodes, by_id = self.data.get("nodes"), {}
        if not isinstance(nodes, list) or not all(_is_node(node) for node in nodes):
            raise FormatError("workflow: expected a list of nodes with an id and a type")
        free = _free_ids(self.data, nodes)
        for node in nodes:
            id = str(node["id"])
            by_id[next(free) if id in by_id else id] = node
        return by_id

    @cached_property
    def setters(self) -> dict[str, Mapping[str, Any]]:
        """Name -> the node of KJNodes that gives a link this name."""
        setters = [node for node in self.nodes.values() if node["type"] == SET]
        return {name: node for node in setters if (name := _link_name(node))}

    @cached_property
    def links(self) -> dict[str, tuple[str, int, str, int]]:
        """Link id -> origin, output slot, target, input slot."""
        links, listed = {}, self.data.get("links")
        for link in listed if isinstance(listed, list) else ():
            if link is None:
                continue
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            try:
                values = [link[key] for key in keys] if isinstance(link, Mapping) else link[:5]
                number, origin, output, target, socket = values
                links[str(number)] = (str(origin), int(output), str(target), int(socket))
            except (KeyError, TypeError, ValueError) as error:
                raise FormatError(f"workflow: not a link: {str(link)[:80]}") from error
        return links


@dataclass
class _Reader:
    """Collects the nodes that run, with the sources of their inputs."""

    specs: Specs
    definitions: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Any]
    nodes: dict[str, Node] = field(default_factory=dict)
    levels: dict[str, _Level] = field(default_factory=dict)

    def read(self, level: _Level) -> None:
        """Collect the nodes of a level and those below it."""
        if level.prefix.count(":") > MAX_DEPTH:
            raise FormatError("subgraphs are nested too deep, or in themselves")
        for id, node in level.nodes.items():
            if node["type"] in VIRTUAL or _mode(node) in (MUTED, BYPASSED):
                continue
            if self._is_subgraph(node):
                self.read(self._instance(level, id))
                continue
            self.nodes[level.prefix + id] = self._node(level, id, node)
            if len(self.nodes) > MAX_NODES:
                raise FormatError(f"workflow: expected at most {MAX_NODES} nodes")

    def _node(self, level: _Level, id: str, node: Mapping[str, Any]) -> Node:
        spec = self.specs.get(node["type"])
        outer = level.outer_values.get((id,), {})
        inputs: dict[str, Any] = widget_values(spec, node, outer) if spec is not None else {}
        ignored = ignored_values(spec, node, outer) if spec is not None else {}
        for socket in _sockets(node, "inputs"):
            name = str(socket.get("name", ""))
            current = spec.current_name(name) if spec is not None else name
            source = self._input(level, socket, str(socket.get("type", "*")), frozenset())
            if source is not None:
                values = inputs if current is not None else ignored
                values[current or name] = source if isinstance(source, Link) else source[0]
        title = node.get("title")
        title = title if isinstance(title, str) else ""
        unread = unread_values(spec, node) if spec is not None else []
        lossy = lossy_values(spec, held_values(spec, node, outer)) if spec is not None else {}
        return Node(node["type"], inputs, title, _extra(ignored, unread, lossy))

    def _instance(self, level: _Level, id: str) -> _Level:
        """Return the level of a subgraph instance, the same one each time."""
        node, prefix = level.nodes[id], f"{level.prefix}{id}:"
        if prefix not in self.levels:
            if len(self.levels) >= MAX_LEVELS:
                raise FormatError(f"workflow: expected at most {MAX_LEVELS} uses of subgraphs")
            self.levels[prefix] = self._open_instance(level, id, node, prefix)
        return self.levels[prefix]

    def _is_subgraph(self, node: Mapping[str, Any]) -> bool:
        return node["type"] in self.definitions or group_of(node["type"], self.groups) is not None

    def _open_instance(
        self, level: _Level, id: str, node: Mapping[str, Any], prefix: str
    ) -> _Level:
        """Return a new level; values of outer instances override those of the instance itself."""
        group = None if node["type"] in self.definitions else group_of(node["type"], self.groups)
        if group is not None:
            data: Mapping[str, Any] = as_subgraph(group, node)
            own = group_widget_values(group, node, self.specs)
        else:
            data, own = self.definitions[node["type"]], own_values(node)
        by_path = {path: dict(values) for path, values in own.items()}
        for path, values in level.outer_values.items():
            if path[:1] == (id,):
                by_path.setdefault(path[1:], {}).update(values)
        # A name stands for the first widget that the instance shows under it.
        first = {name: path for path, name in reversed(list(proxies(node))) if path}
        for name in by_path.get((), {}).keys() & first.keys():
            by_path.setdefault(first[name], {})[name] = by_path[()][name]
        return _Level(data, prefix, level, node, by_path)

    def _input(
        self,
        level: _Level,
        socket: Mapping[str, Any],
        type: str,
        seen: frozenset[Any],
    ) -> Value:
        """Return the source of an input, past nodes that only pass a value on."""
        link = level.links.get(str(socket.get("link")))
        if socket.get("link") is None or link is None:
            return None
        origin, slot, _, _ = link
        if origin == INPUTS:
            return self._from_outside(level, slot, "widget" in socket, type, seen)
        return self._output(level, origin, slot, type, seen)

    def _from_outside(
        self, level: _Level, slot: int, widget: bool, type: str, seen: frozenset[Any]
    ) -> Value:
        """Return the source of a subgraph input: a link around it, or its widget's value."""
        ports = _sockets(level.data, "inputs")
        if level.parent is None or level.instance is None or not 0 <= slot < len(ports):
            return None
        name = ports[slot].get("name")
        outer = next((s for s in _sockets(level.instance, "inputs") if s.get("name") == name), None)
        if outer is not None and outer.get("link") is not None:
            return self._input(level.parent, outer, type, seen)
        return self._widget_value(level, slot) if widget else None

    def _widget_value(self, level: _Level, slot: int) -> Value:
        """Return the value that an instance holds for a subgraph input without a link."""
        assert level.instance is not None
        ports = _sockets(level.data, "inputs")
        name = str(ports[slot].get("name"))
        if name in level.outer_values.get((), {}):
            return (level.outer_values[()][name],)
        named = level.instance.get("widgets_values_named")
        if isinstance(named, Mapping) and name in named:
            return (named[name],)
        for id, socket in _behind(level, slot):
            if socket in level.outer_values.get((id,), {}):
                return (level.outer_values[(id,)][socket],)
        values = level.instance.get("widgets_values")
        if not isinstance(values, list) or not self._has_values_by_position(level.instance):
            return None
        widgets = [index for index in range(len(ports)) if self._is_widget(level, index)]
        position = widgets.index(slot) if slot in widgets else len(values)
        return (values[position],) if position < len(values) else None

    def _has_values_by_position(self, instance: Mapping[str, Any]) -> bool:
        """Return whether the values of an instance are in the order of its subgraph's inputs."""
        properties = instance.get("properties")
        proxies = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
        return instance["type"] in self.definitions and not proxies

    def _is_widget(self, level: _Level, slot: int) -> bool:
        """Return whether the first input that a subgraph input feeds is a widget."""
        for origin, output, target, _ in level.links.values():
            if origin != INPUTS or output != slot or target not in level.nodes:
                continue
            node = level.nodes[target]
            linked = [
                socket
                for socket in _sockets(node, "inputs")
                if level.links.get(str(socket.get("link")), ("",))[0:2] == (INPUTS, slot)
            ]
            spec = self.specs.get(node["type"])
            name = spec.current_name(str(linked[0].get("name"))) if spec and linked else None
            port = spec.port(name) if spec and name is not None else None
            return is_widget(port) if port is not None else bool(linked and "widget" in linked[0])
        return False

    def _output(self, level: _Level, id: str, slot: int, type: str, seen: frozenset[Any]) -> Value:
        """Return the source behind an output, past nodes that only pass a value on."""
        output = (level.prefix, id, slot)
        if output in seen:
            raise FormatError(f"node {level.prefix}{id}: its reroutes form a cycle")
        seen, node = seen | {output}, level.nodes.get(id)
        if node is None or _mode(node) == MUTED:
            return None
        if _mode(node) == BYPASSED:
            chosen = self._bypass(node, slot, type)
            if chosen is None:
                return None
            return self._input(level, chosen, str(chosen.get("type", "*")), seen)
        if self._is_subgraph(node):
            return self._inside(self._instance(level, id), slot, type, seen)
        if node["type"] == GET:
            return self._named_link(level, _link_name(node), type, seen)
        if node["type"] in ("Reroute", SET):
            sockets = _sockets(node, "inputs")
            return self._input(level, sockets[0], type, seen) if sockets else None
        if node["type"] == "PrimitiveNode":
            values = node.get("widgets_values")
            outer = level.outer_values.get((id,), {})
            if "value" in outer:
                return (outer["value"],)
            return (values[0],) if isinstance(values, list) and values else None
        return Link(level.prefix + id, slot) if node["type"] not in VIRTUAL else None

    def _named_link(self, level: _Level, name: str, type: str, seen: frozenset[Any]) -> Value:
        """Return the source of a link by its name, in this level or one around it."""
        outer: _Level | None = level
        while outer is not None and name not in outer.setters:
            outer = outer.parent
        sockets = _sockets(outer.setters[name], "inputs") if outer is not None else []
        return self._input(outer, sockets[0], type, seen) if outer and sockets else None

    def _inside(self, level: _Level, slot: int, type: str, seen: frozenset[Any]) -> Value:
        """Return the source of a subgraph output, from inside."""
        for origin, output, target, socket in level.links.values():
            if target == OUTPUTS and socket == slot:
                if origin == INPUTS:
                    return self._from_outside(level, output, False, type, seen)
                return self._output(level, origin, output, type, seen)
        return None

    def _bypass(self, node: Mapping[str, Any], slot: int, type: str) -> Mapping[str, Any] | None:
        """Return the input that a bypassed node passes on as this output."""
        inputs, outputs = _sockets(node, "inputs"), _sockets(node, "outputs")
        if type in ("*", ""):
            return inputs[slot] if slot < len(inputs) else next(iter(inputs), None)
        given = str(outputs[slot].get("type", "*")) if slot < len(outputs) else "*"

        def fits(socket: Mapping[str, Any]) -> bool:
            own = str(socket.get("type", "*"))
            return connects(own, given) and connects(own, type)

        if slot < len(inputs) and fits(inputs[slot]):
            return inputs[slot]
        exact = (socket for socket in inputs if socket.get("type") == type)
        return next(exact, None) or next(filter(fits, inputs), None)


def _extra(
    ignored: Mapping[str, Any], unread: Sequence[Any], lossy: Mapping[str, Any]
) -> dict[str, Any]:
    extra = {IGNORED: ignored, UNREAD: tuple(unread), CONVERTED: lossy}
    return {key: values for key, values in extra.items() if values}


def _behind(level: _Level, slot: int) -> Iterator[tuple[str, str]]:
    """Yield node and input name of each input that a subgraph input feeds."""
    for number, (origin, output, target, _) in level.links.items():
        if origin == INPUTS and output == slot and target in level.nodes:
            for socket in _sockets(level.nodes[target], "inputs"):
                if str(socket.get("link")) == number:
                    yield target, str(socket.get("name"))


def _definitions(data: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the subgraphs that a file defines, at any depth."""
    held = data.get("definitions") if isinstance(data, Mapping) else None
    listed = held.get("subgraphs") if isinstance(held, Mapping) else None
    for definition in listed if isinstance(listed, list) and depth < MAX_DEPTH else ():
        if isinstance(definition, Mapping) and isinstance(definition.get("id"), str):
            yield definition
            yield from _definitions(definition, depth + 1)


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, Mapping)
        and isinstance(node.get("type"), str)
        and isinstance(node.get("id"), int | str)
    )


def _free_ids(data: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield ids above those in use, as the editor counts them."""
    ids = (data.get("last_node_id"), *(node["id"] for node in nodes))
    numbers = (int(id) for id in ids if _NUMBER.fullmatch(str(id)))
    return map(str, itertools.count(max(numbers, default=0) + 1))


def _link_name(node: Mapping[str, Any]) -> str:
    values = node.get("widgets_values")
    name = values[0] if isinstance(values, list) and values else ""
    return name if isinstance(name, str) else ""


def _sockets(node: Mapping[str, Any], side: str) -> list[Mapping[str, Any]]:
    listed = node.get(side)
    if not isinstance(listed, list):
        return []
    return [socket for socket in listed if isinstance(socket, Mapping)]


def _mode(node: Mapping[str, Any]) -> Any:
    return node.get("mode", 0)
