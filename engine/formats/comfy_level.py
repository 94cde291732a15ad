"""A level of an editor's workflow: the root, or an instance of a subgraph, with nodes and links."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import FormatError
from .comfy_groups import WidgetValues
from .comfy_proxies import MAX_DEPTH
from .comfy_virtual import SETTERS

INPUTS, OUTPUTS = "-10", "-20"
MUTED, BYPASSED = 2, 4
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class Level:
    """The root of a workflow, or one instance of a subgraph.

    Attributes:
        data: the nodes and links, as in the file.
        prefix: of the ids of its nodes.
        parent, instance: the level and the node that this is an instance of; None for the root.
        outer_values: values that the instance gives to widgets inside.
        id: of the instance, in the level around it.
        is_group: it is an instance of a group node of older editors.
        is_part: it is a subgraph by itself, whose inputs are those of a part.
    """

    data: Mapping[str, Any]
    prefix: str
    parent: Level | None
    instance: Mapping[str, Any] | None
    outer_values: WidgetValues = field(default_factory=dict)
    id: str = ""
    is_group: bool = False
    is_part: bool = False

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
        setters = [node for node in self.nodes.values() if node["type"] in SETTERS]
        return {name: node for node in setters if (name := link_name(node))}

    def promoted(self, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of a node's inputs that an input of this subgraph feeds."""
        return frozenset(
            str(socket.get("name"))
            for socket in sockets_of(node, "inputs")
            if self.links.get(str(socket.get("link")), ("",))[0] == INPUTS
        )

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
                if None in values:
                    continue  # the editor drops a link without an end
                number, origin, output, target, socket = values
                links[str(number)] = (str(origin), int(output), str(target), int(socket))
            except (KeyError, TypeError, ValueError) as error:
                raise FormatError(f"workflow: not a link: {str(link)[:80]}") from error
        return links


def inputs_behind(level: Level, slot: int) -> Iterator[tuple[str, str]]:
    """Yield node and input name of each input that a subgraph input feeds."""
    for number, (origin, output, target, _) in level.links.items():
        if origin == INPUTS and output == slot and target in level.nodes:
            for socket in sockets_of(level.nodes[target], "inputs"):
                if str(socket.get("link")) == number:
                    yield target, str(socket.get("name"))


def definitions_in(data: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the subgraphs that a file defines, at any depth."""
    held = data.get("definitions") if isinstance(data, Mapping) else None
    listed = held.get("subgraphs") if isinstance(held, Mapping) else None
    for definition in listed if isinstance(listed, list) and depth < MAX_DEPTH else ():
        if isinstance(definition, Mapping) and isinstance(definition.get("id"), str):
            yield definition
            yield from definitions_in(definition, depth + 1)


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


def link_name(node: Mapping[str, Any]) -> str:
    values = node.get("widgets_values")
    name = values[0] if isinstance(values, list) and values else ""
    return name if isinstance(name, str) else ""


def sockets_of(node: Mapping[str, Any], side: str) -> list[Mapping[str, Any]]:
    listed = node.get(side)
    if not isinstance(listed, list):
        return []
    return [socket for socket in listed if isinstance(socket, Mapping)]


def mode_of(node: Mapping[str, Any]) -> Any:
    return node.get("mode", 0)
