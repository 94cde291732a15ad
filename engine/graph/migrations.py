"""Nodes under former names, or written for a former version: how they become the present ones.

Inputs that have another name only are renamed by `Formerly`. A former type migrates only where it
is not installed: a pack that still has the former node goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FormatError, SpecError
from ..node.extension import Extension
from ..node.registry import Registry
from ..node.spec import NodeSpec
from .graph import Graph, Node
from .parts import Part
from .records import MIGRATED, NODE_VERSION, POSITIONAL, UNREAD

Inputs = Mapping[str, Any]
Change = Callable[[Inputs], Inputs]
ANY_VERSION = 0
Key = tuple[str, int]


@dataclass(frozen=True)
class NodeMigration(Extension):
    """A former node, what replaces it, and the function that makes the inputs of the latter.

    Attributes:
        former, type: the former type and the one that replaces it; equal for another version.
        fields: the names of the former node's values, in the order of the editor's files; empty
            for those of the present one.
        version: the former version; ANY_VERSION for a type that is gone.
        gives: the version of `type` that the new inputs are written for.
    """

    former: str
    type: str
    fields: tuple[str, ...]
    change: Change
    version: int = ANY_VERSION
    gives: int = 1

    def migrate(self, id: str, node: Node) -> Node:
        """Return the node that replaces one; values beyond the fields are reported as unread.

        Raises:
            FormatError: the function cannot convert the inputs.
        """
        named = dict(zip(self.fields, node.positional, strict=False))
        extra = {key: value for key, value in node.extra.items() if key != POSITIONAL}
        surplus = tuple(node.positional[len(self.fields) :])
        if surplus:
            extra[UNREAD] = surplus
        try:
            inputs = dict(self.change({**named, **node.inputs}))
        except Exception as error:  # a function of a pack
            got = f"{type(error).__name__}: {error}"
            raise FormatError(
                f"node {id}: the migration of {versioned(self.former, self.version)} failed with "
                f"{got}\n  try:     open the file with the release that wrote it"
            ) from error
        return replace(node, type=self.type, inputs=inputs, extra=extra)


def migration(
    former: str,
    to: str = "",
    fields: tuple[str, ...] = (),
    *,
    version: int = ANY_VERSION,
    gives: int = 0,
) -> Callable[[Change], NodeMigration]:
    """Declare a function as the migration of a node; it gets the former inputs.

    Args:
        to: the type that replaces `former`; by default a later version of the same type does.
        fields: the names of the former values, in the order of the editor's files.
        version: the former version.
        gives: the version of the result; by default the next one, and 1 of another type.

    Raises:
        SpecError: the result would be what it replaces.

    >>> @migration("OldBlur", to="ImageBlur", fields=("radius",))
    ... def blur(inputs):
    ...     return rename_inputs(inputs, radius="blur_radius")
    >>> dict(blur.change({"radius": 3}))
    {'blur_radius': 3}
    >>> @migration("ImageBlur", version=1)
    ... def squared(inputs):
    ...     return rename_options(inputs, "shape", box="square")
    >>> squared.gives, dict(squared.change({"shape": "box"}))
    (2, {'shape': 'square'})
    """
    is_same_type = to in ("", former)
    gives = gives or (version + 1 if is_same_type else 1)
    if is_same_type and not 0 < version < gives:
        text = "expected another type, or a former version below that of the result"
        raise SpecError(f"migration of {versioned(former, version)}: {text}")

    def declare(change: Change) -> NodeMigration:
        return NodeMigration(former, to or former, fields, change, version, gives)

    return declare


def rename_inputs(inputs: Inputs, **names: str) -> dict[str, Any]:
    """Return inputs with present names for former ones."""
    return {names.get(name, name): value for name, value in inputs.items()}


def rename_options(inputs: Inputs, name: str, **options: str) -> dict[str, Any]:
    """Return inputs with present options of one of them for former ones."""
    value = inputs.get(name)
    if not isinstance(value, str) or value not in options:
        return dict(inputs)
    return {**inputs, name: options[value]}


def versioned(type_name: str, version: int) -> str:
    """Return a type with its version, as native files have it: `Blur@2`; without it for 1.

    >>> versioned("Blur", 2), versioned("Blur", 1), versioned("odd@2", 1)
    ('Blur@2', 'Blur', 'odd@2@1')
    """
    is_plain = version <= 1 and read_versioned(type_name)[1] == 0
    return type_name if is_plain else f"{type_name}@{max(version, 1)}"


def read_versioned(text: str) -> tuple[str, int]:
    """Return a type and its version, 0 if none is stated.

    >>> read_versioned("Blur@2"), read_versioned("Blur"), read_versioned("a@b")
    (('Blur', 2), ('Blur', 0), ('a@b', 0))
    """
    name, at, number = text.rpartition("@")
    is_version = at and name and len(number) <= 6 and number.isascii() and number.isdigit()
    return (name, int(number)) if is_version and int(number) else (text, 0)


def with_versions(graph: Graph, specs: Mapping[str, NodeSpec]) -> Graph:
    """Return the graph with the versions of installed nodes beyond the first, for a writer."""
    later = {name: spec.version for name, spec in specs.items() if spec.version > 1}
    if not later:
        return graph

    def stated(_id: str, node: Node) -> Node:
        version = node.version or later.get(node.type, 0)
        return replace(node, extra={**node.extra, NODE_VERSION: version}) if version else node

    return _map_nodes(graph, stated)


def migrated(graph: Graph, specs: Mapping[str, NodeSpec] | None) -> Graph:
    """Return the graph with present nodes for former ones, as far as the packs declare them.

    A native file that states no version means the first one; other files mean the installed one.

    Raises:
        FormatError: a migration cannot convert the inputs of a node.
    """
    installed = specs or {}
    known = specs.extensions(NodeMigration) if isinstance(specs, Registry) else ()
    table = {(item.former, item.version): item for item in known}
    is_native = graph.document is None
    return _map_nodes(graph, lambda id, node: _present(id, node, installed, table, is_native))


def has_own_fields(type_name: str, version: int, specs: Mapping[str, NodeSpec]) -> bool:
    """Return whether a former version of an installed type has other values than the present."""
    spec = specs.get(type_name)
    if spec is None or not 0 < version < spec.version or not isinstance(specs, Registry):
        return False
    known = specs.extensions(NodeMigration)
    return any((m.former, m.version) == (type_name, version) and m.fields for m in known)


def _present(
    id: str,
    node: Node,
    specs: Mapping[str, NodeSpec],
    table: Mapping[Key, NodeMigration],
    is_native: bool,
) -> Node:
    """Return the present node for one: itself if it is one."""
    spec = specs.get(node.type)
    version = node.version or (1 if spec is None or is_native else spec.version)
    former, done = (node.type, version), set[Key]()
    while spec is None or version < spec.version:
        key = (node.type, version)
        if spec is None and key not in table:
            key = (node.type, ANY_VERSION)
        if key not in table or key in done:
            break
        done.add(key)
        node, version = table[key].migrate(id, node), table[key].gives
        spec = specs.get(node.type)
    if not done and (version == node.version or spec is None or version == spec.version):
        is_present = spec is not None and node.version == spec.version
        return _with_extra(node, {NODE_VERSION: 0}) if is_present and node.version else node
    is_present = spec is None or version == spec.version
    said = former[0] if node.type != former[0] else f"{former[0]}@{former[1]}"
    marks = {MIGRATED: said} if done else {}
    return _with_extra(node, {**marks, NODE_VERSION: 0 if is_present else version})


def _with_extra(node: Node, values: Mapping[str, Any]) -> Node:
    extra = {**node.extra, **values}
    if not extra[NODE_VERSION]:
        del extra[NODE_VERSION]
    return replace(node, extra=extra)


def _map_nodes(graph: Graph, change: Callable[[str, Node], Node]) -> Graph:
    """Return the graph with nodes changed, those of its parts too; itself if none is."""
    nodes = {id: change(id, node) for id, node in graph.nodes.items()}
    parts = {name: _map_part(part, change) for name, part in graph.parts.items()}
    is_same = all(nodes[id] is node for id, node in graph.nodes.items())
    if is_same and all(parts[name] is part for name, part in graph.parts.items()):
        return graph
    return replace(graph, nodes=nodes, parts=parts)


def _map_part(part: Part, change: Callable[[str, Node], Node]) -> Part:
    nodes = {id: change(id, node) for id, node in part.body.nodes.items()}
    if all(nodes[id] is node for id, node in part.body.nodes.items()):
        return part
    return replace(part, body=replace(part.body, nodes=nodes))
