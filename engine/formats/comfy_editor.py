"""What ComfyUI's editor saves -> Graph: subgraphs, primitives, reroutes, bypassed and muted nodes.

The rules are those by which the editor itself makes a prompt of its file. Ids of nodes inside a
subgraph are `instance:inner`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import FormatError
from ..graph.graph import IGNORED, Graph, Link, Node
from ..node.spec import NodeSpec
from .comfy_groups import Shown, as_subgraph, group_of, groups_in, shown_values
from .comfy_values import ignored_values, is_widget, widget_values

Specs = Mapping[str, NodeSpec]
Value = Link | tuple[Any] | None
"""What feeds an input: an output, a value in a tuple of one, or nothing."""

MUTED, BYPASSED = 2, 4
VIRTUAL = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode"})
INPUTS, OUTPUTS = "-10", "-20"
MAX_DEPTH = 32
MAX_NODES, MAX_LEVELS = 100_000, 10_000
ITSELF, IMAGE = "-1", "$$"
_WAY = re.compile(r"(\d+): ?(.*)", re.DOTALL)


def read_workflow(data: Mapping[str, Any], specs: Specs) -> Graph:
    """The graph of an editor's file.

    A node that is not installed keeps its links, so that only a run that needs it fails.

    Args:
        specs: the installed nodes, which say which value is which.

    Raises:
        FormatError: it has another shape than the editor's files, or a circle of reroutes.
    """
    definitions = {found["id"]: found for found in _definitions(data, 0)}
    reader = _Reader(specs, definitions, groups_in(data))
    try:
        reader.read(_Level(data, "", None, None))
    except RecursionError as error:
        raise FormatError("a value passes through too many nodes that only pass it on") from error
    nodes = reader.nodes

    def without_dangling(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not isinstance(value, Link) or value.node in nodes
        }

    return Graph(
        {
            id: Node(node.type, without_dangling(node.inputs), node.title, _extra(node.ignored))
            for id, node in nodes.items()
        }
    )


@dataclass(frozen=True, eq=False)
class _Level:
    """The root, or one use of a subgraph: its file, its ids' prefix, and the node that uses it.

    `shown` holds the values that its use gives to fields inside.
    """

    data: Mapping[str, Any]
    prefix: str
    parent: _Level | None
    instance: Mapping[str, Any] | None
    shown: Shown = field(default_factory=dict)

    @cached_property
    def nodes(self) -> dict[str, Mapping[str, Any]]:
        found = self.data.get("nodes")
        if not isinstance(found, list) or not all(_is_node(node) for node in found):
            raise FormatError("this is no workflow: its nodes have no id and type")
        return {str(node["id"]): node for node in found}

    @cached_property
    def links(self) -> dict[str, tuple[str, int, str, int]]:
        """Link id -> origin, its output, target, its input."""
        found, listed = {}, self.data.get("links")
        for link in listed if isinstance(listed, list) else ():
            if link is None:
                continue
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            try:
                values = [link[key] for key in keys] if isinstance(link, Mapping) else link[:5]
                number, origin, slot, target, place = values
                found[str(number)] = (str(origin), int(slot), str(target), int(place))
            except (KeyError, TypeError, ValueError) as error:
                raise FormatError(f"this is no link of a workflow: {str(link)[:80]}") from error
        return found


@dataclass
class _Reader:
    """Gathers the nodes that run, with what feeds them."""

    specs: Specs
    definitions: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Any]
    nodes: dict[str, Node] = field(default_factory=dict)
    levels: dict[str, _Level] = field(default_factory=dict)

    def read(self, level: _Level) -> None:
        """Take in a level and those below it."""
        if level.prefix.count(":") > MAX_DEPTH:
            raise FormatError("subgraphs are nested too deep, or in themselves")
        for id, node in level.nodes.items():
            if node["type"] in VIRTUAL or _mode(node) in (MUTED, BYPASSED):
                continue
            if self._is_subgraph(node):
                self.read(self._below(level, id))
                continue
            self.nodes[level.prefix + id] = self._node(level, node)
            if len(self.nodes) > MAX_NODES:
                raise FormatError(f"this workflow has more than {MAX_NODES} nodes")

    def _node(self, level: _Level, node: Mapping[str, Any]) -> Node:
        spec = self.specs.get(node["type"])
        outer = level.shown.get((str(node["id"]),), {})
        inputs: dict[str, Any] = widget_values(spec, node, outer) if spec is not None else {}
        ignored = ignored_values(spec, node, outer) if spec is not None else {}
        for socket in _sockets(node, "inputs"):
            name = str(socket.get("name", ""))
            current = spec.current_name(name) if spec is not None else name
            value = self._input(level, socket, str(socket.get("type", "*")), frozenset())
            if value is not None:
                values = inputs if current is not None else ignored
                values[current or name] = value if isinstance(value, Link) else value[0]
        title = node.get("title")
        title = title if isinstance(title, str) else ""
        return Node(node["type"], inputs, title, _extra(ignored))

    def _below(self, level: _Level, id: str) -> _Level:
        node, prefix = level.nodes[id], f"{level.prefix}{id}:"
        if prefix not in self.levels:
            if len(self.levels) >= MAX_LEVELS:
                raise FormatError(f"this workflow uses more than {MAX_LEVELS} subgraphs")
            self.levels[prefix] = self._use(level, id, node, prefix)
        return self.levels[prefix]

    def _is_subgraph(self, node: Mapping[str, Any]) -> bool:
        return node["type"] in self.definitions or group_of(node["type"], self.groups) is not None

    def _use(self, level: _Level, id: str, node: Mapping[str, Any], prefix: str) -> _Level:
        """One use of a subgraph; what is shown further out counts more than what it shows."""
        group = None if node["type"] in self.definitions else group_of(node["type"], self.groups)
        if group is not None:
            data: Mapping[str, Any] = as_subgraph(group, node)
            own = shown_values(group, node, self.specs)
        else:
            data, own = self.definitions[node["type"]], _own_values(node)
        shown = {way: dict(values) for way, values in own.items()}
        for way, values in level.shown.items():
            if way[:1] == (id,):
                shown.setdefault(way[1:], {}).update(values)
        # A name stands for the first field that the node shows under it.
        first = {name: way for way, name in reversed(list(_proxies(node))) if way}
        for name in shown.get((), {}).keys() & first.keys():
            shown.setdefault(first[name], {})[name] = shown[()][name]
        return _Level(data, prefix, level, node, shown)

    def _input(
        self,
        level: _Level,
        socket: Mapping[str, Any],
        type: str,
        seen: frozenset[Any],
    ) -> Value:
        """What feeds an input in the end."""
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
        """What feeds an input of a subgraph: a link around it, or the value shown on it."""
        ports = _sockets(level.data, "inputs")
        if level.parent is None or level.instance is None or not 0 <= slot < len(ports):
            return None
        name = ports[slot].get("name")
        outer = next((s for s in _sockets(level.instance, "inputs") if s.get("name") == name), None)
        if outer is not None and outer.get("link") is not None:
            return self._input(level.parent, outer, type, seen)
        return self._shown(level, slot) if widget else None

    def _shown(self, level: _Level, slot: int) -> Value:
        """The value that an instance shows for an input that nothing is linked to."""
        assert level.instance is not None
        ports = _sockets(level.data, "inputs")
        name = str(ports[slot].get("name"))
        if name in level.shown.get((), {}):
            return (level.shown[()][name],)
        named = level.instance.get("widgets_values_named")
        if isinstance(named, Mapping) and name in named:
            return (named[name],)
        for id, socket in _behind(level, slot):
            if socket in level.shown.get((id,), {}):
                return (level.shown[(id,)][socket],)
        values = level.instance.get("widgets_values")
        if not isinstance(values, list) or not self._shows_by_place(level.instance):
            return None
        shown = [place for place in range(len(ports)) if self._is_shown(level, place)]
        place = shown.index(slot) if slot in shown else len(values)
        return (values[place],) if place < len(values) else None

    def _shows_by_place(self, instance: Mapping[str, Any]) -> bool:
        """Whether the values of an instance stand in the order of its subgraph's inputs."""
        properties = instance.get("properties")
        proxies = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
        return instance["type"] in self.definitions and not proxies

    def _is_shown(self, level: _Level, slot: int) -> bool:
        """Whether the first thing behind an input of a subgraph is a field."""
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
        """What an output gives in the end, past nodes that only pass on."""
        here = (level.prefix, id, slot)
        if here in seen:
            raise FormatError(f"node {level.prefix}{id}: what it passes on leads back to itself")
        seen, node = seen | {here}, level.nodes.get(id)
        if node is None or _mode(node) == MUTED:
            return None
        if _mode(node) == BYPASSED:
            chosen = self._bypass(node, slot, type)
            if chosen is None:
                return None
            return self._input(level, chosen, str(chosen.get("type", "*")), seen)
        if self._is_subgraph(node):
            return self._inside(self._below(level, id), slot, type, seen)
        if node["type"] == "Reroute":
            sockets = _sockets(node, "inputs")
            return self._input(level, sockets[0], type, seen) if sockets else None
        if node["type"] == "PrimitiveNode":
            values = node.get("widgets_values")
            outer = level.shown.get((id,), {})
            if "value" in outer:
                return (outer["value"],)
            return (values[0],) if isinstance(values, list) and values else None
        return Link(level.prefix + id, slot) if node["type"] not in VIRTUAL else None

    def _inside(self, level: _Level, slot: int, type: str, seen: frozenset[Any]) -> Value:
        """What feeds an output of a subgraph, from inside."""
        for origin, output, target, place in level.links.values():
            if target == OUTPUTS and place == slot:
                if origin == INPUTS:
                    return self._from_outside(level, output, False, type, seen)
                return self._output(level, origin, output, type, seen)
        return None

    def _bypass(self, node: Mapping[str, Any], slot: int, type: str) -> Mapping[str, Any] | None:
        """The input that a bypassed node passes on as this output."""
        inputs, outputs = _sockets(node, "inputs"), _sockets(node, "outputs")
        if type in ("*", ""):
            return inputs[slot] if slot < len(inputs) else next(iter(inputs), None)
        given = str(outputs[slot].get("type", "*")) if slot < len(outputs) else "*"

        def fits(socket: Mapping[str, Any]) -> bool:
            own = str(socket.get("type", "*"))
            return _connects(own, given) and _connects(own, type)

        if slot < len(inputs) and fits(inputs[slot]):
            return inputs[slot]
        exact = (socket for socket in inputs if socket.get("type") == type)
        return next(exact, None) or next(filter(fits, inputs), None)


def _extra(ignored: Mapping[str, Any]) -> dict[str, Any]:
    return {IGNORED: ignored} if ignored else {}


def _own_values(node: Mapping[str, Any]) -> Shown:
    """What an instance gives to fields inside by its list of proxies, the older way to do so."""
    values = node.get("widgets_values")
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for (way, name), value in zip(
        _proxies(node), values if isinstance(values, list) else (), strict=False
    ):
        if not name.startswith(IMAGE):
            found.setdefault(way, {})[name] = value
    return found


def _proxies(node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The fields that an instance stands for: the way of ids to each inside, and its name.

    The way () is to the subgraph's own input.
    """
    properties = node.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
    for proxy in listed if isinstance(listed, list) else ():
        if not isinstance(proxy, list) or len(proxy) < 2:
            raise FormatError(f"this is no proxy of a field: {str(proxy)[:80]}")
        way, name = [str(proxy[0])], str(proxy[1])
        while (inner := _WAY.fullmatch(name)) is not None and len(way) < MAX_DEPTH:
            way.append(inner[1])
            name = inner[2]
        yield (() if way == [ITSELF] else tuple(way)), name


def _behind(level: _Level, slot: int) -> Iterator[tuple[str, str]]:
    """(node, input) of what an input of a subgraph feeds."""
    for number, (origin, output, target, _) in level.links.items():
        if origin == INPUTS and output == slot and target in level.nodes:
            for socket in _sockets(level.nodes[target], "inputs"):
                if str(socket.get("link")) == number:
                    yield target, str(socket.get("name"))


def _definitions(data: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """The subgraphs that a file defines, at any depth."""
    held = data.get("definitions") if isinstance(data, Mapping) else None
    listed = held.get("subgraphs") if isinstance(held, Mapping) else None
    for found in listed if isinstance(listed, list) and depth < MAX_DEPTH else ():
        if isinstance(found, Mapping) and isinstance(found.get("id"), str):
            yield found
            yield from _definitions(found, depth + 1)


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, Mapping)
        and isinstance(node.get("type"), str)
        and isinstance(node.get("id"), int | str)
    )


def _sockets(node: Mapping[str, Any], side: str) -> list[Mapping[str, Any]]:
    found = node.get(side)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _mode(node: Mapping[str, Any]) -> Any:
    return node.get("mode", 0)


def _connects(first: str, second: str) -> bool:
    if first in ("", "*", "0") or second in ("", "*", "0"):
        return True
    return bool(set(first.lower().split(",")) & set(second.lower().split(",")))
