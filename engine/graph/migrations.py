"""Nodes under former names: what replaces them, and how their inputs become its own.

Inputs that kept their node are renamed by `Formerly`. A migration concerns nodes that are not
installed only: a pack that still has the former node goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..node.extension import Extension
from ..node.registry import Registry
from ..node.spec import NodeSpec
from .graph import Graph, Node
from .parts import Part
from .records import MIGRATED, POSITIONAL, UNREAD

Inputs = Mapping[str, Any]
Change = Callable[[Inputs], Inputs]


@dataclass(frozen=True)
class NodeMigration(Extension):
    """A node's former type, its present type, and the function that makes the present inputs.

    Attributes:
        fields: the names of the former node's values, in the order of the editor's files.
    """

    former: str
    type: str
    fields: tuple[str, ...]
    change: Change

    def migrate(self, node: Node) -> Node:
        """Return a node of the present type; values beyond the fields are reported as unread."""
        named = dict(zip(self.fields, node.positional, strict=False))
        extra = {key: value for key, value in node.extra.items() if key != POSITIONAL}
        extra[MIGRATED] = self.former
        surplus = tuple(node.positional[len(self.fields) :])
        if surplus:
            extra[UNREAD] = surplus
        return replace(
            node, type=self.type, inputs=self.change({**named, **node.inputs}), extra=extra
        )


def migration(
    former: str, to: str, fields: tuple[str, ...] = ()
) -> Callable[[Change], NodeMigration]:
    """Declare a function as the migration of a node; it gets the former inputs.

    >>> @migration("OldBlur", to="ImageBlur", fields=("radius",))
    ... def blur(inputs):
    ...     return rename(inputs, radius="blur_radius")
    >>> dict(blur.change({"radius": 3}))
    {'blur_radius': 3}
    """

    def declare(change: Change) -> NodeMigration:
        return NodeMigration(former, to, fields, change)

    return declare


def rename(inputs: Inputs, **names: str) -> dict[str, Any]:
    """Return inputs with present names for former ones."""
    return {names.get(name, name): value for name, value in inputs.items()}


def migrated(graph: Graph, specs: Mapping[str, NodeSpec] | None) -> Graph:
    """Return the graph with present nodes for former ones, as far as the packs declare them."""
    known = specs.extensions(NodeMigration) if isinstance(specs, Registry) else ()
    table = {item.former: item for item in known if item.former not in (specs or {})}
    if not any(node.type in table for node in graph.nodes.values()):
        return graph
    return replace(
        graph,
        nodes=_migrated_nodes(graph.nodes, table),
        parts={name: _migrated_part(part, table) for name, part in graph.parts.items()},
    )


def _migrated_part(part: Part, table: Mapping[str, NodeMigration]) -> Part:
    body = replace(part.body, nodes=_migrated_nodes(part.body.nodes, table))
    return replace(part, body=body)


def _migrated_nodes(
    nodes: Mapping[str, Node], table: Mapping[str, NodeMigration]
) -> dict[str, Node]:
    return {
        id: table[node.type].migrate(node) if node.type in table else node
        for id, node in nodes.items()
    }
