"""The differences of two graphs, in nodes, inputs and links; names and layout do not count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .graph import Graph, GraphInput, Link, Node
from .literal import MAX_LENGTH, describe_value
from .matching import match_nodes

Kind = Literal[
    "added", "removed", "type", "input", "graph_input", "title", "description", "sweep", "expect"
]


CONTEXT_CHARS, WINDOW_CHARS = 20, 60


class Absent:
    """Stands for an input that a node, or a graph, does not have."""

    def __repr__(self) -> str:
        return "none"


ABSENT = Absent()


@dataclass(frozen=True, kw_only=True)
class Change:
    """A difference.

    Attributes:
        node: the id in the new graph; of a removed node that in the old one.
        input: of the node, or of the graph.
        old, new: a Node, a type, the value of an input with links as in the new graph, a
            GraphInput, or ABSENT.
    """

    kind: Kind
    node: str = ""
    input: str = ""
    old: Any = ABSENT
    new: Any = ABSENT

    def __str__(self) -> str:
        old, new = _shown_pair(self.old, self.new)
        if self.kind == "added":
            return f"{self.node}: added, {new}"
        if self.kind == "removed":
            return f"{self.node}: removed, {old}"
        if self.kind == "input":
            return f"{self.node}.{self.input}: {old} -> {new}"
        subject = {"type": f"{self.node}: type", "graph_input": f"input {self.input}"}
        return f"{subject.get(self.kind, self.kind)}: {old} -> {new}"


@dataclass(frozen=True)
class GraphDiff:
    """The differences, and the nodes that both graphs have: old id -> new id."""

    changes: tuple[Change, ...]
    names: Mapping[str, str]


def diff(old: Graph, new: Graph) -> GraphDiff:
    """Return the differences, in the order of the new graph, removed nodes last.

    >>> from engine.graph.graph import Graph
    >>> old = Graph().add("a", "Number", value=1)
    >>> [str(change) for change in diff(old, old.set("a.value", 2)).changes]
    ['a.value: 1 -> 2']
    """
    names = match_nodes(old, new)
    return GraphDiff(tuple(_changes(old, new, names)), names)


def apply_diff(graph: Graph, difference: GraphDiff) -> Graph:
    """Return the old graph with its differences from the new one: the new one."""
    names = difference.names
    inputs: dict[str, Any] = dict(graph.inputs)
    nodes = {new: relinked(graph.nodes[old], names) for old, new in names.items()}
    for change in difference.changes:
        if change.kind == "added":
            nodes[change.node] = change.new
        elif change.kind == "type":
            nodes[change.node] = replace(nodes[change.node], type=change.new)
        elif change.kind == "input":
            given = {**nodes[change.node].inputs, change.input: change.new}
            given = {name: value for name, value in given.items() if value is not ABSENT}
            nodes[change.node] = replace(nodes[change.node], inputs=given)
        elif change.kind == "graph_input":
            inputs[change.input] = change.new
        elif change.kind != "removed":
            graph = replace(graph, **{change.kind: change.new})
    inputs = {name: value for name, value in inputs.items() if value is not ABSENT}
    return replace(graph, nodes=nodes, inputs=inputs)


def _changes(old: Graph, new: Graph, pairs: Mapping[str, str]) -> Iterator[Change]:
    for key in ("title", "description"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield Change(kind="title" if key == "title" else "description", old=before, new=after)
    if old.sweep != new.sweep:
        yield Change(kind="sweep", old=old.sweep, new=new.sweep)
    if old.expect != new.expect:
        yield Change(kind="expect", old=old.expect, new=new.expect)
    for name in (*new.inputs, *(old.inputs.keys() - new.inputs.keys())):
        was, now = old.inputs.get(name, ABSENT), new.inputs.get(name, ABSENT)
        if was != now:
            yield Change(kind="graph_input", input=name, old=was, new=now)
    origins = {now: before for before, now in pairs.items()}
    for id, node in new.nodes.items():
        if id not in origins:
            yield Change(kind="added", node=id, new=node)
        else:
            yield from _node_changes(id, old.nodes[origins[id]], node, pairs)
    for id, node in old.nodes.items():
        if id not in pairs:
            yield Change(kind="removed", node=id, old=node)


def _node_changes(id: str, old: Node, new: Node, pairs: Mapping[str, str]) -> Iterator[Change]:
    if old.type != new.type:
        yield Change(kind="type", node=id, old=old.type, new=new.type)
    before = relinked(old, pairs).inputs
    for name in (*new.inputs, *(name for name in before if name not in new.inputs)):
        was, now = before.get(name, ABSENT), new.inputs.get(name, ABSENT)
        if was != now or isinstance(was, bool) != isinstance(now, bool):
            yield Change(kind="input", node=id, input=name, old=was, new=now)


def relinked(node: Node, names: Mapping[str, str]) -> Node:
    """Return a node whose links lead to nodes under other names."""
    links = {
        name: Link(names[link.node], link.output)
        for name, link in node.links()
        if names.get(link.node, link.node) != link.node
    }
    return replace(node, inputs={**node.inputs, **links}) if links else node


def _shown_pair(old: Any, new: Any) -> tuple[str, str]:
    """Return two values for a message; of long strings, what is around the first difference."""
    if isinstance(old, GraphInput) and isinstance(new, GraphInput):
        if old.default != new.default:
            return _shown_pair(old.default, new.default)
        sides = {key: (value, vars(new)[key]) for key, value in vars(old).items()}
        unequal = {key: pair for key, pair in sides.items() if pair[0] != pair[1]}
        return _fields(unequal, 0), _fields(unequal, 1)
    if not (isinstance(old, str) and isinstance(new, str)) or len(old + new) <= MAX_LENGTH:
        return _shown(old), _shown(new)
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    start = max(0, (min(len(old), len(new)) if same is None else same) - CONTEXT_CHARS)
    lead = "..." if start else ""
    shown = [f"{lead}{text[start : start + WINDOW_CHARS]}" for text in (old, new)]
    cut = ["..." if len(text) > start + WINDOW_CHARS else "" for text in (old, new)]
    return repr(shown[0] + cut[0]), repr(shown[1] + cut[1])


def _fields(unequal: Mapping[str, tuple[Any, Any]], side: int) -> str:
    return ", ".join(f"{key} {describe_value(pair[side])}" for key, pair in unequal.items())


def _shown(value: Any) -> str:
    if isinstance(value, Node):
        return value.type
    if isinstance(value, GraphInput):
        return describe_value(value.default)
    return repr(value) if value is ABSENT else describe_value(value)
