"""Group nodes of older editors, read as subgraphs, as newer editors do.

`extra.groupNodes` defines a group under its name. A node of type `workflow>Name` is an instance
of it, and lists the values of all widgets inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import FormatError
from ..graph.graph import POSITIONAL
from ..node.spec import NodeSpec
from .comfy_declaration import declaration_of
from .comfy_values import CONTROLS, is_control, is_image, is_seed, is_widget

PREFIXES = ("workflow>", "workflow/")
INPUTS, OUTPUTS = -10, -20
PRIMITIVE = "PrimitiveNode"
BUTTON, NOTHING = frozenset({"image"}), frozenset[str]()
Specs = Mapping[str, NodeSpec]
WidgetValues = Mapping[tuple[str, ...], Mapping[str, Any]]
"""Values that an instance gives to widgets inside: by the path of ids to a node, then by name."""


def group_of(type_name: str, groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the group that a node type names; None if it names none."""
    prefix = next((prefix for prefix in PREFIXES if type_name.startswith(prefix)), None)
    group = groups.get(type_name.removeprefix(prefix)) if prefix else None
    return group if isinstance(group, Mapping) else None


def groups_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the groups that a file defines, by name."""
    extra = data.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    return groups if isinstance(groups, Mapping) else {}


def as_subgraph(group: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group as the subgraph definition of an instance; ids inside are indices.

    Raises:
        FormatError: the group has another shape than the editor writes.
    """
    nodes = _nodes(group)
    links = list(_links(group, nodes))
    ports = list(_ports(nodes, links))
    names = _names(ports, nodes, instance)
    number = max((link[0] for link in links), default=-1) + 1
    for slot, (inner, socket) in enumerate(ports):
        links.append((number, INPUTS, slot, inner, socket))
        number += 1
    for slot, (inner, output) in enumerate(_outputs(group, nodes, links)):
        links.append((number, inner, output, OUTPUTS, slot))
        number += 1
    for link, _, _, target, socket in links:
        if target != OUTPUTS:
            nodes[target]["inputs"][socket]["link"] = link
    return {"nodes": nodes, "links": links, "inputs": [{"name": name} for name in names]}


def group_widget_values(
    group: Mapping[str, Any], instance: Mapping[str, Any], specs: Specs
) -> WidgetValues:
    """Return the values that an instance of a group holds, by the node inside."""
    nodes = _nodes(group)
    linked = {
        (target, _current_name(nodes[target], socket, specs))
        for _, _, _, target, socket in _links(group, nodes)
    }
    given = instance.get("widgets_values")
    waiting = list(given) if isinstance(given, list) else []
    by_node: dict[tuple[str, ...], dict[str, Any]] = {}
    for index, node in enumerate(nodes):
        values = by_node.setdefault((str(index),), {})
        spec = declaration_of(node, specs)
        if spec is None and node["type"] != PRIMITIVE:
            held = node.get("widgets_values")
            count = len(held) if isinstance(held, list) else 0
            if len(waiting) >= count > 0:
                values[POSITIONAL] = waiting[:count]
            del waiting[:count]
        for name, followers in _widgets(node["type"], spec):
            if (index, name) in linked or _is_hidden(group, index, "input", name):
                continue
            if waiting:
                values[name] = waiting.pop(0)
            if waiting and _is_follower(waiting[0], followers):
                waiting.pop(0)
    return by_node


def _current_name(node: Mapping[str, Any], socket: int, specs: Specs) -> str:
    """Return the current name of an input of a node in a group."""
    name, spec = str(node["inputs"][socket].get("name")), declaration_of(node, specs)
    return (spec.current_name(name) if spec is not None else None) or name


def _widgets(type_name: str, spec: NodeSpec | None) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the widgets of a node, and the values that may follow each: a control or a button."""
    if type_name == PRIMITIVE:
        yield "value", CONTROLS
    for port in spec.inputs if spec is not None else ():
        if is_widget(port):
            yield port.name, CONTROLS if is_seed(port) else BUTTON if is_image(port) else NOTHING


def _is_follower(value: Any, followers: frozenset[str]) -> bool:
    """Return whether a value belongs to the widget before it; early files control by a boolean."""
    return is_control(value) if followers is CONTROLS else str(value) in followers


def _nodes(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a group, with their indices as ids, and without links."""
    listed = group.get("nodes")
    if not isinstance(listed, list) or not all(
        isinstance(node, Mapping) and isinstance(node.get("type"), str) for node in listed
    ):
        raise FormatError("group node: expected a list of nodes with a type")
    nodes = []
    for index, node in enumerate(listed):
        sides = {side: _sockets(node, side) for side in ("inputs", "outputs")}
        nodes.append({**node, **sides, "id": index})
    return nodes


def _sockets(node: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    held = node.get(side)
    listed = held if isinstance(held, list) else []
    return [{**socket, "link": None} for socket in listed if isinstance(socket, Mapping)]


def _links(
    group: Mapping[str, Any], nodes: list[dict[str, Any]]
) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield id, origin, output slot, target and input slot of each link inside a group."""
    listed = group.get("links")
    for number, link in enumerate(listed if isinstance(listed, list) else ()):
        if link is None or (isinstance(link, list) and None in link[:4]):
            continue  # the editor leaves such a link out: the socket is an input of the group
        try:
            origin, output, target, socket = map(int, link[:4] if isinstance(link, list) else ())
            if min(origin, output, target, socket) < 0 or origin >= len(nodes):
                raise IndexError
            nodes[target]["inputs"][socket]
        except (TypeError, ValueError, IndexError) as error:
            raise FormatError(f"group node: not a link: {str(link)[:80]}") from error
        yield number, origin, output, target, socket


def _ports(nodes: list[dict[str, Any]], links: list[Any]) -> Iterator[tuple[int, int]]:
    """Yield node and slot of each input that no link inside feeds."""
    fed = {(target, socket) for _, _, _, target, socket in links}
    for index, node in enumerate(nodes):
        for socket in range(len(node["inputs"])):
            if (index, socket) not in fed:
                yield index, socket


def _names(
    ports: list[tuple[int, int]], nodes: list[dict[str, Any]], instance: Mapping[str, Any]
) -> list[str]:
    """Return the names of the group's inputs, as its instance names them."""
    outer = _sockets(instance, "inputs")
    inner = [nodes[index]["inputs"][socket] for index, socket in ports]
    if len(outer) == len(inner):
        return [_name(socket) for socket in outer]
    plain = [_name(socket) for socket in outer if "widget" not in socket]
    if len(plain) == sum("widget" not in socket for socket in inner):
        order = iter(plain)
        return [_name(socket) if "widget" in socket else next(order) for socket in inner]
    names: list[str] = []
    for (index, _), socket in zip(ports, inner, strict=True):
        name = _name(socket)
        names.append(name if name not in names else f"{_title(nodes[index])} {name}")
    return names


def _outputs(
    group: Mapping[str, Any], nodes: list[dict[str, Any]], links: list[Any]
) -> Iterator[tuple[int, int]]:
    """Yield node and slot of each output that the group has."""
    used = {(origin, output) for _, origin, output, _, _ in links}
    held = group.get("external")
    external = {
        tuple(entry[:2]) for entry in (held if isinstance(held, list) else ()) if _is_pair(entry)
    }
    for index, node in enumerate(nodes):
        for output in range(len(node["outputs"])):
            is_external = (index, output) not in used or (index, output) in external
            if is_external and not _is_hidden(group, index, "output", str(output)):
                yield index, output


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value[:2])


def _is_hidden(group: Mapping[str, Any], index: int, side: str, name: str) -> bool:
    """Return whether the group hides a widget or an output of a node inside."""
    config: Any = group.get("config")
    for key in (str(index), side, name):
        config = config.get(key) if isinstance(config, Mapping) else None
    return isinstance(config, Mapping) and config.get("visible") is False


def _name(socket: Mapping[str, Any]) -> str:
    return str(socket.get("name", ""))


def _title(node: Mapping[str, Any]) -> str:
    title = node.get("title")
    return title if isinstance(title, str) else str(node["type"])
