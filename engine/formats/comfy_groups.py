"""Group nodes, which older editors wrote: read as uses of a subgraph, as newer editors read them.

A group is kept in `extra.groupNodes` under its name; a node of type `workflow>Name` uses it, and
holds the values of all fields inside, one after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import FormatError
from ..node.spec import NodeSpec
from .comfy_values import CONTROLS, is_image, is_seed, is_widget

PREFIXES = ("workflow>", "workflow/")
INPUTS, OUTPUTS = -10, -20
PRIMITIVE = "PrimitiveNode"
BUTTON, NOTHING = frozenset({"image"}), frozenset[str]()
Specs = Mapping[str, NodeSpec]
Shown = Mapping[tuple[str, ...], Mapping[str, Any]]
"""Values that a use of a subgraph gives to fields inside: by the way of ids to a node, by name."""


def group_of(type_name: str, groups: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The group that a type of node names; None if it names none."""
    prefix = next((each for each in PREFIXES if type_name.startswith(each)), None)
    found = groups.get(type_name.removeprefix(prefix)) if prefix else None
    return found if isinstance(found, Mapping) else None


def groups_in(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The groups that a file defines, by name."""
    extra = data.get("extra")
    found = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def as_subgraph(group: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, Any]:
    """The group as the definition of a subgraph that the instance uses; inner ids are places.

    Raises:
        FormatError: it is no group.
    """
    nodes = _nodes(group)
    links = list(_links(group, nodes))
    ports = list(_ports(nodes, links))
    names = _names(ports, nodes, instance)
    number = len(links)
    for place, (inner, socket) in enumerate(ports):
        links.append((number, INPUTS, place, inner, socket))
        number += 1
    for place, (inner, output) in enumerate(_given(group, nodes, links)):
        links.append((number, inner, output, OUTPUTS, place))
        number += 1
    for link, _, _, target, socket in links:
        if target != OUTPUTS:
            nodes[target]["inputs"][socket]["link"] = link
    return {"nodes": nodes, "links": links, "inputs": [{"name": name} for name in names]}


def shown_values(group: Mapping[str, Any], instance: Mapping[str, Any], specs: Specs) -> Shown:
    """The values of the instance by the node inside that they are for."""
    nodes = _nodes(group)
    linked = {
        (target, _current_name(nodes[target], socket, specs))
        for _, _, _, target, socket in _links(group, nodes)
    }
    given = instance.get("widgets_values")
    waiting = list(given) if isinstance(given, list) else []
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for place, node in enumerate(nodes):
        values = found.setdefault((str(place),), {})
        spec = specs.get(node["type"])
        if spec is None and node["type"] != PRIMITIVE:
            held = node.get("widgets_values")
            del waiting[: len(held) if isinstance(held, list) else 0]
        for name, follows in _fields(node["type"], spec):
            if (place, name) in linked or _hidden(group, place, "input", name):
                continue
            if waiting:
                values[name] = waiting.pop(0)
            if waiting and str(waiting[0]) in follows:
                waiting.pop(0)
    return found


def _current_name(node: Mapping[str, Any], socket: int, specs: Specs) -> str:
    """Return the present name of an input of a node in a group."""
    name, spec = str(node["inputs"][socket].get("name")), specs.get(node["type"])
    return (spec.current_name(name) if spec is not None else None) or name


def _fields(type_name: str, spec: NodeSpec | None) -> Iterator[tuple[str, frozenset[str]]]:
    """The fields of a node, and what may follow each: what happens to it later, or a button."""
    if type_name == PRIMITIVE:
        yield "value", CONTROLS
    for port in spec.inputs if spec is not None else ():
        if is_widget(port):
            yield port.name, CONTROLS if is_seed(port) else BUTTON if is_image(port) else NOTHING


def _nodes(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a group, with their places for ids and without links."""
    listed = group.get("nodes")
    if not isinstance(listed, list) or not all(
        isinstance(node, Mapping) and isinstance(node.get("type"), str) for node in listed
    ):
        raise FormatError("this is no group of nodes: its nodes have no type")
    found = []
    for place, node in enumerate(listed):
        sides = {side: _sockets(node, side) for side in ("inputs", "outputs")}
        found.append({**node, **sides, "id": place})
    return found


def _sockets(node: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    held = node.get(side)
    listed = held if isinstance(held, list) else []
    return [{**each, "link": None} for each in listed if isinstance(each, Mapping)]


def _links(
    group: Mapping[str, Any], nodes: list[dict[str, Any]]
) -> Iterator[tuple[int, int, int, int, int]]:
    """(id, origin, its output, target, its input) of each link inside a group."""
    listed = group.get("links")
    for number, link in enumerate(listed if isinstance(listed, list) else ()):
        try:
            origin, output, target, socket = (int(each) for each in link[:4])
            if min(origin, output, target, socket) < 0 or origin >= len(nodes):
                raise IndexError
            nodes[target]["inputs"][socket]
        except (TypeError, ValueError, IndexError) as error:
            raise FormatError(f"this is no link of a group: {str(link)[:80]}") from error
        yield number, origin, output, target, socket


def _ports(nodes: list[dict[str, Any]], links: list[Any]) -> Iterator[tuple[int, int]]:
    """(node, input) of each input that nothing inside feeds."""
    fed = {(target, socket) for _, _, _, target, socket in links}
    for place, node in enumerate(nodes):
        for socket in range(len(node["inputs"])):
            if (place, socket) not in fed:
                yield place, socket


def _names(
    ports: list[tuple[int, int]], nodes: list[dict[str, Any]], instance: Mapping[str, Any]
) -> list[str]:
    """The names of the group's inputs, as its instance has them."""
    held = instance.get("inputs")
    outer = [each for each in held if isinstance(each, Mapping)] if isinstance(held, list) else []
    inner = [nodes[place]["inputs"][socket] for place, socket in ports]
    if len(outer) == len(inner):
        return [str(each.get("name", "")) for each in outer]
    plain = [str(each.get("name", "")) for each in outer if "widget" not in each]
    if len(plain) == sum("widget" not in each for each in inner):
        order = iter(plain)
        return [str(each.get("name", "")) if "widget" in each else next(order) for each in inner]
    found: list[str] = []
    for (place, _), each in zip(ports, inner, strict=True):
        name = str(each.get("name", ""))
        found.append(name if name not in found else f"{_title(nodes[place])} {name}")
    return found


def _given(
    group: Mapping[str, Any], nodes: list[dict[str, Any]], links: list[Any]
) -> Iterator[tuple[int, int]]:
    """(node, output) of each output that the group gives out."""
    used = {(origin, output) for _, origin, output, _, _ in links}
    held = group.get("external")
    external = {
        tuple(each[:2]) for each in (held if isinstance(held, list) else ()) if _is_pair(each)
    }
    for place, node in enumerate(nodes):
        for output in range(len(node["outputs"])):
            kept = (place, output) not in used or (place, output) in external
            if kept and not _hidden(group, place, "output", str(output)):
                yield place, output


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value[:2])


def _hidden(group: Mapping[str, Any], place: int, side: str, name: str) -> bool:
    """Whether the group keeps a field or an output to itself."""
    found: Any = group.get("config")
    for key in (str(place), side, name):
        found = found.get(key) if isinstance(found, Mapping) else None
    return isinstance(found, Mapping) and found.get("visible") is False


def _title(node: Mapping[str, Any]) -> str:
    title = node.get("title")
    return title if isinstance(title, str) else str(node["type"])
