"""Reads the levels of an editor's workflow: which nodes run, and the source of each input.

The rules are those of the editor when it turns a workflow into a prompt. Ids of nodes inside a
subgraph are `instance:inner`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import FormatError
from ..graph.graph import CONVERTED, IGNORED, UNREAD, InputRef, LeftOut, Link, Node
from ..graph.migrations import has_own_fields
from ..graph.records import NODE_VERSION
from ..node.spec import NodeSpec
from .comfy_broadcast import Broadcasts, Feed
from .comfy_declaration import declaration_of
from .comfy_groups import as_subgraph, group_of, group_widget_values
from .comfy_level import (
    BYPASSED,
    INPUTS,
    MUTED,
    OUTPUTS,
    Level,
    inputs_behind,
    link_name,
    mode_of,
    sockets_of,
)
from .comfy_placeholders import pack_of, placeholder_values, version_of
from .comfy_proxies import MAX_DEPTH, own_values, proxies
from .comfy_values import (
    connects,
    held_values,
    ignored_values,
    is_widget,
    lossy_values,
    read_widget,
    unread_values,
    widget_values,
)
from .comfy_virtual import GETTERS, PASSING, PRIMITIVE, SEED_EVERYWHERE, VIRTUAL
from .known_nodes import KnownNode

Specs = Mapping[str, NodeSpec]


class Primitive(NamedTuple):
    """A value that the editor writes into the widget of an input, and the node it comes from."""

    value: Any
    node: str = ""


Value = Link | tuple[Any] | Primitive | None
"""The source of an input: an output, a value in a tuple of one, or nothing."""

MAX_NODES, MAX_LEVELS = 100_000, 10_000
SUBGRAPH = "its nodes stand one by one"


@dataclass
class WorkflowReader:
    """Collects the nodes that run, with the sources of their inputs."""

    specs: Specs
    definitions: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Any]
    nodes: dict[str, Node] = field(default_factory=dict)
    levels: dict[str, Level] = field(default_factory=dict)
    broadcasts: dict[str, Broadcasts] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    shared: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Primitive -> the inputs that it gives a value to."""

    def read(self, level: Level) -> None:
        """Collect the nodes of a level and those below it."""
        if level.prefix.count(":") > MAX_DEPTH:
            raise FormatError("subgraphs are nested too deep, or in themselves")
        for id, node in level.nodes.items():
            reason = self._reason_to_leave_out(node)
            if reason:
                self.left_out.append(LeftOut(level.prefix + id, node["type"], reason))
            if reason and reason != SUBGRAPH:
                continue
            if reason == SUBGRAPH:
                self.read(self._instance(level, id))
                continue
            self.nodes[level.prefix + id] = self._node(level, id, node)
            if len(self.nodes) > MAX_NODES:
                raise FormatError(f"workflow: expected at most {MAX_NODES} nodes")

    def _reason_to_leave_out(self, node: Mapping[str, Any]) -> str:
        """Return why a node itself is not in the graph; empty if it is."""
        if node["type"] in VIRTUAL:
            return "only the editor has it"
        if mode_of(node) in (MUTED, BYPASSED):
            return "it is muted" if mode_of(node) == MUTED else "it is bypassed"
        return SUBGRAPH if self._is_subgraph(node) else ""

    def _node(self, level: Level, id: str, node: Mapping[str, Any]) -> Node:
        spec, outer = self._declaration(node), level.outer_values.get((id,), {})
        promoted = frozenset() if level.is_group else level.promoted(node) | outer.keys()
        unread, ignored, lossy = [], dict[str, Any](), dict[str, Any]()
        extra: Mapping[str, Any] = {}
        if spec is None:
            inputs, extra = placeholder_values(node, outer)
        else:
            inputs = widget_values(spec, node, outer, promoted)
            ignored = ignored_values(spec, node, outer)
            held = held_values(spec, node, outer)
            lossy = lossy_values(spec, held, clamp=True) | _changed_texts(held, inputs)
            unread = unread_values(spec, node)
        for index, socket in enumerate(sockets_of(node, "inputs")):
            name = str(socket.get("name", ""))
            current = spec.current_name(name) if spec is not None else name
            source = self._source(level, id, index, str(socket.get("type", "*")), frozenset())
            if source is None:
                continue
            is_input = current is not None or isinstance(spec, KnownNode)
            value = source if isinstance(source, Link) else source[0]
            if isinstance(source, Primitive) and spec is not None and current is not None:
                port = spec.port(current)
                value = read_widget(spec, port, value)
                lossy |= lossy_values(spec, {current: source.value}, clamp=True)
                self.shared.setdefault(source.node, []).append((level.prefix + id, current))
            (inputs if is_input else ignored)[current or name] = value
        title = node.get("title")
        title = title if isinstance(title, str) else ""
        properties = node.get("properties")
        origin: dict[str, Any] = {
            **pack_of(node["type"], properties, self.specs),
            **version_of(properties),
        }
        return Node(
            node["type"], inputs, title, {**extra, **origin, **_extra(ignored, unread, lossy)}
        )

    def _declaration(self, node: Mapping[str, Any]) -> NodeSpec | None:
        version = version_of(node.get("properties")).get(NODE_VERSION, 0)
        is_former = has_own_fields(node["type"], version, self.specs)
        return None if is_former else declaration_of(node, self.specs)

    def _source(self, level: Level, id: str, index: int, type: str, seen: frozenset[Any]) -> Value:
        """Return the source of an input of a node: of its link, or of a node that feeds it."""
        node = level.nodes[id]
        socket = sockets_of(node, "inputs")[index]
        if socket.get("link") is not None:
            return self._input(level, socket, type, seen)
        if level.prefix not in self.broadcasts:
            self.broadcasts[level.prefix] = Broadcasts(level)
        feed = self.broadcasts[level.prefix].feed(id, node, index)
        if isinstance(feed, str):
            origin, _, slot = feed.rpartition(":")
            return self._output(level, origin, int(slot), type, seen)
        if isinstance(feed, Feed):
            if feed.socket is not None:
                return self._input(level, feed.socket, type, seen)
            return self._output(level, feed.id, 0, type, seen)
        return None

    def _instance(self, level: Level, id: str) -> Level:
        """Return the level of a subgraph instance, the same one each time."""
        node, prefix = level.nodes[id], f"{level.prefix}{id}:"
        if prefix not in self.levels:
            if len(self.levels) >= MAX_LEVELS:
                raise FormatError(f"workflow: expected at most {MAX_LEVELS} uses of subgraphs")
            self.levels[prefix] = self._open_instance(level, id, node, prefix)
        return self.levels[prefix]

    def _is_subgraph(self, node: Mapping[str, Any]) -> bool:
        return node["type"] in self.definitions or group_of(node["type"], self.groups) is not None

    def _open_instance(self, level: Level, id: str, node: Mapping[str, Any], prefix: str) -> Level:
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
        return Level(data, prefix, level, node, by_path, id=id, is_group=group is not None)

    def _input(
        self,
        level: Level,
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
        self, level: Level, slot: int, widget: bool, type: str, seen: frozenset[Any]
    ) -> Value:
        """Return the source of a subgraph input: a link around it, or its widget's value."""
        ports = sockets_of(level.data, "inputs")
        if level.is_part and 0 <= slot < len(ports):
            return (InputRef(str(slot)),)
        if level.parent is None or level.instance is None or not 0 <= slot < len(ports):
            return None
        name = ports[slot].get("name")
        outer = sockets_of(level.instance, "inputs")
        index = next((i for i, held in enumerate(outer) if held.get("name") == name), None)
        if index is not None:
            source = self._source(level.parent, level.id, index, type, seen)
            if source is not None or outer[index].get("link") is not None:
                return source
        return self._widget_value(level, slot) if widget else None

    def _widget_value(self, level: Level, slot: int) -> Value:
        """Return the value that an instance holds for a subgraph input without a link."""
        assert level.instance is not None
        ports = sockets_of(level.data, "inputs")
        name = str(ports[slot].get("name"))
        if name in level.outer_values.get((), {}):
            return (level.outer_values[()][name],)
        values, named = level.instance.get("widgets_values"), _named_values(level.instance)
        widgets = self._value_order(level) if isinstance(values, list) else []
        # The list wins, as in the editor, unless it was made for other inputs.
        if name in named and (not isinstance(values, list) or len(values) != len(widgets)):
            return (named[name],)
        for id, socket in inputs_behind(level, slot):
            if socket in level.outer_values.get((id,), {}):
                return (level.outer_values[(id,)][socket],)
        position = widgets.index(slot) if slot in widgets else None
        if isinstance(values, list) and position is not None and position < len(values):
            return (values[position],)
        return None

    def _value_order(self, level: Level) -> list[int]:
        """Return the subgraph inputs whose values an instance lists, in the order of the list."""
        if level.instance is None or not self._has_values_by_position(level.instance):
            return []
        ports = sockets_of(level.data, "inputs")
        return [index for index in range(len(ports)) if self._is_widget(level, index)]

    def _has_values_by_position(self, instance: Mapping[str, Any]) -> bool:
        """Return whether the values of an instance are in the order of its subgraph's inputs."""
        properties = instance.get("properties")
        proxies = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
        return instance["type"] in self.definitions and not proxies

    def _is_widget(self, level: Level, slot: int) -> bool:
        """Return whether the first input that a subgraph input feeds is a widget."""
        for origin, output, target, _ in level.links.values():
            if origin != INPUTS or output != slot or target not in level.nodes:
                continue
            node = level.nodes[target]
            linked = [
                socket
                for socket in sockets_of(node, "inputs")
                if level.links.get(str(socket.get("link")), ("",))[0:2] == (INPUTS, slot)
            ]
            spec = self._declaration(node)
            name = spec.current_name(str(linked[0].get("name"))) if spec and linked else None
            port = spec.port(name) if spec and name is not None else None
            return is_widget(port) if port is not None else bool(linked and "widget" in linked[0])
        return False

    def _output(self, level: Level, id: str, slot: int, type: str, seen: frozenset[Any]) -> Value:
        """Return the source behind an output, past nodes that only pass a value on."""
        output = (level.prefix, id, slot)
        if output in seen:
            raise FormatError(f"node {level.prefix}{id}: its reroutes form a cycle")
        seen, node = seen | {output}, level.nodes.get(id)
        if node is None or mode_of(node) == MUTED:
            return None
        if mode_of(node) == BYPASSED:
            chosen = self._bypass(node, slot, type)
            if chosen is None:
                return None
            return self._input(level, chosen, str(chosen.get("type", "*")), seen)
        if self._is_subgraph(node):
            return self.inside(self._instance(level, id), slot, type, seen)
        if node["type"] in GETTERS:
            return self._named_link(level, link_name(node), type, seen)
        if node["type"] in PASSING:
            sockets = sockets_of(node, "inputs")
            return self._input(level, sockets[0], type, seen) if sockets else None
        if node["type"] in (PRIMITIVE, SEED_EVERYWHERE):
            values = node.get("widgets_values")
            outer = level.outer_values.get((id,), {})
            if "value" in outer:
                return Primitive(outer["value"], level.prefix + id)
            return (
                Primitive(values[0], level.prefix + id)
                if isinstance(values, list) and values
                else None
            )
        return Link(level.prefix + id, slot) if node["type"] not in VIRTUAL else None

    def _named_link(self, level: Level, name: str, type: str, seen: frozenset[Any]) -> Value:
        """Return the source of a link by its name, in this level or one around it."""
        outer: Level | None = level
        while outer is not None and name not in outer.setters:
            outer = outer.parent
        sockets = sockets_of(outer.setters[name], "inputs") if outer is not None else []
        return self._input(outer, sockets[0], type, seen) if outer and sockets else None

    def inside(self, level: Level, slot: int, type: str, seen: frozenset[Any]) -> Value:
        """Return the source of a subgraph output, from inside."""
        for origin, output, target, socket in level.links.values():
            if target == OUTPUTS and socket == slot:
                if origin == INPUTS:
                    return self._from_outside(level, output, False, type, seen)
                return self._output(level, origin, output, type, seen)
        return None

    def _bypass(self, node: Mapping[str, Any], slot: int, type: str) -> Mapping[str, Any] | None:
        """Return the input that a bypassed node passes on as this output."""
        inputs, outputs = sockets_of(node, "inputs"), sockets_of(node, "outputs")
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


def _changed_texts(held: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the strings of which comments or alternatives were taken away."""
    return {
        name: value
        for name, value in held.items()
        if isinstance(value, str) and isinstance(inputs[name], str) and inputs[name] != value
    }


def _named_values(instance: Mapping[str, Any]) -> Mapping[str, Any]:
    named = instance.get("widgets_values_named")
    return named if isinstance(named, Mapping) else {}


def _extra(
    ignored: Mapping[str, Any], unread: Sequence[Any], lossy: Mapping[str, Any]
) -> dict[str, Any]:
    extra = {IGNORED: ignored, UNREAD: tuple(unread), CONVERTED: lossy}
    return {key: values for key, values in extra.items() if values}
