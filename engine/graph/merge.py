"""Merging two changed graphs: by node and input, with conflicts in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from .diff import ABSENT, relinked
from .fold import is_same_literal
from .graph import Graph, Link, Node
from .literal import describe_value
from .matching import is_name, match_nodes

K = TypeVar("K")


@dataclass(frozen=True)
class Conflict:
    """Something that both sides changed, each in another way; the merged graph has ours."""

    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True)
class Merge:
    """A merged graph, and what could not be merged."""

    graph: Graph
    conflicts: tuple[Conflict, ...]


def merge(base: Graph, ours: Graph, theirs: Graph) -> Merge:
    """Return the base with the changes of both sides.

    >>> from engine.graph.graph import Graph
    >>> base = Graph().add("a", "Scale", a=1, times=1)
    >>> merged = merge(base, base.set("a.a", 2), base.set("a.times", 3))
    >>> dict(merged.graph.nodes["a"].inputs), merged.conflicts
    ({'a': 2, 'times': 3}, ())
    """
    return _Merging(base, ours, theirs).merge()


@dataclass
class _Merging:
    base: Graph
    ours: Graph
    theirs: Graph
    conflicts: list[Conflict] = field(default_factory=list)

    def merge(self) -> Merge:
        names = self._names()
        base, ours, theirs = (
            {table[id]: relinked(node, table) for id, node in graph.nodes.items()}
            for graph, table in zip((self.base, self.ours, self.theirs), names, strict=True)
        )
        nodes = {}
        for id in _union(ours, theirs, base):
            node = self._node(id, base.get(id), ours.get(id), theirs.get(id))
            if node is not None:
                nodes[id] = node
        self._check_links(nodes, (ours, theirs))
        parts = self._mapping("part", "parts")
        graph = replace(
            self.ours,
            nodes=nodes,
            inputs=self._mapping("input", "inputs"),
            title=self._value("the title", *(g.title for g in self._graphs)),
            description=self._value("the description", *(g.description for g in self._graphs)),
            sweep=self._value("the sweep", *(g.sweep for g in self._graphs)),
            expect=self._value("the expectations", *(g.expect for g in self._graphs)),
            layout=self._layout(names),
            document=None,
            parts=parts,
            uses=self._changed("uses"),
            passes=self._changed("passes"),
        )
        return Merge(graph, tuple(self.conflicts))

    @property
    def _graphs(self) -> tuple[Graph, Graph, Graph]:
        return self.base, self.ours, self.theirs

    def _names(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Return the ids in the merged graph of the nodes of base, ours and theirs.

        A node that only one side renamed has its new name.
        """
        to_ours, to_theirs = (match_nodes(self.base, side) for side in (self.ours, self.theirs))
        merged: dict[str, str] = {}
        taken = set(self.ours.nodes)
        for id in self.base.nodes:
            mine, their = to_ours.get(id), to_theirs.get(id)
            if mine is not None and (
                mine != id or their is None or (their != id and their in taken)
            ):
                merged[id] = mine
            else:
                merged[id] = their if their is not None else id
            taken.add(merged[id])
        ours = {new: merged[old] for old, new in to_ours.items()}
        theirs = {new: merged[old] for old, new in to_theirs.items()}
        held = set(merged.values())
        occupied = held | self.ours.nodes.keys()
        for graph, table in ((self.ours, ours), (self.theirs, theirs)):
            for id in graph.nodes:
                if id in table:
                    continue
                other = self.ours.nodes.get(id) if table is theirs else None
                is_other = other is not None and not is_name(id) and other != graph.nodes[id]
                table[id] = _free(id, occupied if is_other else held)
        return merged, ours, theirs

    def _node(
        self, id: str, base: Node | None, ours: Node | None, theirs: Node | None
    ) -> Node | None:
        if ours is None or theirs is None:
            left = theirs if ours is None else ours
            if base is None or left is None:
                return left
            if left == base:
                return None
            remover = "ours" if ours is None else "theirs"
            self._conflict(id, f"{remover} removed the node that the other side changed")
            return left
        start = base if base is not None else Node(ours.type)
        inputs = {}
        for name in _union(ours.inputs, theirs.inputs, start.inputs):
            values = (node.inputs.get(name, ABSENT) for node in (start, ours, theirs))
            value = self._value(f"{id}.{name}", *values)
            if value is not ABSENT:
                inputs[name] = value
        type_name = self._value(f"{id}, its type", start.type, ours.type, theirs.type)
        title = self._value(f"{id}, its title", start.title, ours.title, theirs.title)
        return replace(ours, type=type_name, inputs=inputs, title=title)

    def _value(self, subject: str, base: Any, ours: Any, theirs: Any) -> Any:
        if is_same_literal(ours, theirs) or is_same_literal(theirs, base):
            return ours
        if is_same_literal(ours, base):
            return theirs
        shown = [repr(v) if v is ABSENT else describe_value(v) for v in (ours, theirs, base)]
        self._conflict(subject, f"ours {shown[0]}, theirs {shown[1]}, before {shown[2]}")
        return ours

    def _mapping(self, kind: str, name: str) -> dict[str, Any]:
        base, ours, theirs = (getattr(graph, name) for graph in self._graphs)
        merged = {
            key: self._value(
                f"{kind} {key}", *(side.get(key, ABSENT) for side in (base, ours, theirs))
            )
            for key in _union(ours, theirs, base)
        }
        return {key: value for key, value in merged.items() if value is not ABSENT}

    def _changed(self, name: str) -> dict[str, Any]:
        """Return a mapping with what either side changed; ours where both did.

        Never a conflict: the nodes are merged one by one, and a use that no longer gives its nodes
        is written node by node.
        """
        base, ours, theirs = (getattr(graph, name) for graph in self._graphs)
        merged = {}
        for key in _union(ours, theirs, base):
            held = [side.get(key, ABSENT) for side in (base, ours, theirs)]
            merged[key] = held[2] if held[1] == held[0] else held[1]
        return {key: value for key, value in merged.items() if value is not ABSENT}

    def _layout(self, names: tuple[Mapping[str, str], ...]) -> dict[str, Any]:
        """Return the layout: ours where it changed, else theirs; never a conflict."""
        base, ours, theirs = (graph.layout for graph in self._graphs)
        merged = {
            key: ours[key]
            if ours.get(key) != base.get(key) and key in ours
            else theirs.get(key, ours.get(key))
            for key in _union(ours, theirs)
        }
        held = [graph.layout.get("nodes") for graph in (self.theirs, self.ours)]
        both = {
            table.get(id, id): item
            for table, nodes in zip((names[2], names[1]), held, strict=True)
            if isinstance(nodes, Mapping)
            for id, item in nodes.items()
        }
        return merged | ({"nodes": both} if both else {})

    def _check_links(
        self, nodes: Mapping[str, Node], sides: tuple[Mapping[str, Node], ...]
    ) -> None:
        """Report links to removed nodes, unless they led nowhere on a side already."""
        for id, node in nodes.items():
            for name, link in node.links():
                if link.node in nodes or not any(link.node in side for side in sides):
                    continue
                if not any(_dangles(side, id, name, link) for side in sides):
                    self._conflict(f"{id}.{name}", f"it links to {link.node}, which was removed")

    def _conflict(self, subject: str, text: str) -> None:
        self.conflicts.append(Conflict(subject, text))


def _dangles(side: Mapping[str, Node], id: str, name: str, link: Link) -> bool:
    """Return whether a side has this link, but not the node that it leads to."""
    return id in side and side[id].inputs.get(name) == link and link.node not in side


def _union(*mappings: Iterable[K]) -> list[K]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _free(id: str, held: set[str]) -> str:
    """Return the id, unless the node of another type has it."""
    name, count = id, 1
    while name in held:
        count += 1
        name = f"{id}_{count}"
    return name
