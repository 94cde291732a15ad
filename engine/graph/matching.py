"""Corresponding nodes of two graphs: by name, else by type and wiring."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from .graph import Graph, InputRef, Link, Node

MAX_COMPARED_PAIRS = 20_000


def is_name(id: str) -> bool:
    """Return whether an id is a name, and not a number such as `57:27`."""
    return not id.replace(":", "").isdigit()


def match_nodes(old: Graph, new: Graph) -> dict[str, str]:
    """Return the nodes of the old graph that the new one still has, with their ids there.

    A node with the same name corresponds; of the others, those that compute the same, then those
    that are linked to corresponding nodes, then those of one type that are most alike.
    """
    matching = _Matching(old, new)
    for id in old.nodes:
        if is_name(id) and id in new.nodes:
            matching.add_named(id)
    if not matching.has_free_nodes():
        return matching.pairs
    digests = _digests(old), _digests(new)
    matching.add_equal(_with_users(old, digests[0]), _with_users(new, digests[1]))
    matching.add_equal(*digests)
    matching.follow_links()
    matching.add_equal(_contents(old), _contents(new))
    matching.add_alike()
    return matching.pairs


class _Matching:
    def __init__(self, old: Graph, new: Graph) -> None:
        self._old, self._new = old, new
        self.pairs: dict[str, str] = {}
        self._taken: set[str] = set()
        self._waiting: list[tuple[str, str]] = []
        self._old_users, self._new_users = _users(old), _users(new)

    def has_free_nodes(self) -> bool:
        """Return whether both graphs have nodes that are not matched yet."""
        return len(self.pairs) < min(len(self._old.nodes), len(self._new.nodes))

    def add(self, old: str, new: str) -> None:
        """Match two nodes if both are free, and of one type."""
        is_free = old not in self.pairs and new not in self._taken
        if is_free and self._old.nodes[old].type == self._new.nodes[new].type:
            self._add(old, new)

    def add_named(self, id: str) -> None:
        """Match the nodes that have a name in both graphs, of whatever type."""
        self._add(id, id)

    def _add(self, old: str, new: str) -> None:
        self.pairs[old] = new
        self._taken.add(new)
        self._waiting.append((old, new))

    def add_equal(self, old_keys: Mapping[str, Any], new_keys: Mapping[str, Any]) -> None:
        """Match free nodes with equal keys, in order."""
        free: dict[Any, deque[str]] = defaultdict(deque)
        for id, key in new_keys.items():
            if id not in self._taken:
                free[key].append(id)
        for id, key in old_keys.items():
            while free.get(key) and free[key][0] in self._taken:
                free[key].popleft()
            if id not in self.pairs and free.get(key):
                self.add(id, free[key].popleft())
                self.follow_links()

    def follow_links(self) -> None:
        """Match the nodes that corresponding inputs and outputs of matched nodes lead to."""
        while self._waiting:
            old, new = self._waiting.pop()
            there = dict(self._new.nodes[new].links())
            for name, link in self._old.nodes[old].links():
                other = there.get(name)
                if other is None or link.node not in self._old.nodes:
                    continue
                if other.node in self._new.nodes:
                    self.add(link.node, other.node)
            users = self._new_users.get(new, {})
            for port, ids in self._old_users.get(old, {}).items():
                mine = [id for id in ids if id not in self.pairs]
                theirs = [id for id in users.get(port, ()) if id not in self._taken]
                if len(mine) == len(theirs) == 1:
                    self.add(mine[0], theirs[0])

    def add_alike(self) -> None:
        """Match the rest within each type, those with the most equal inputs first."""
        by_type: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for side, graph, taken in ((0, self._old, self.pairs), (1, self._new, self._taken)):
            for id, node in graph.nodes.items():
                if id not in taken:
                    by_type[node.type][side].append(id)
        for old_ids, new_ids in by_type.values():
            if len(old_ids) * len(new_ids) <= MAX_COMPARED_PAIRS:
                pairs = [(self._alikeness(a, b), a, b) for a in old_ids for b in new_ids]
                pairs.sort(key=lambda pair: -pair[0])
                chosen: Iterable[tuple[str, str]] = ((a, b) for _, a, b in pairs)
            else:
                chosen = zip(old_ids, new_ids, strict=False)
            for a, b in chosen:
                self.add(a, b)
                self.follow_links()

    def _alikeness(self, old: str, new: str) -> int:
        a, b = self._old.nodes[old], self._new.nodes[new]
        count = 2 * (a.title == b.title)
        for name, value in a.inputs.items():
            other = b.inputs.get(name)
            if isinstance(value, Link):
                count += isinstance(other, Link) and self.pairs.get(value.node) == other.node
            else:
                count += name in b.inputs and other == value
        return count


def _users(graph: Graph) -> dict[str, dict[tuple[str, str], list[str]]]:
    """Return node -> (type, input) -> the nodes that link to it so."""
    users: dict[str, dict[tuple[str, str], list[str]]] = {}
    for id, node in graph.nodes.items():
        for name, link in node.links():
            users.setdefault(link.node, {}).setdefault((node.type, name), []).append(id)
    return users


def _digests(graph: Graph) -> dict[str, int]:
    """Return for each node a number that stands for what it computes, with all upstream of it."""
    digests: dict[str, int] = {}
    order = graph.nodes if graph.cycle() else (id for ids in graph.generations for id in ids)
    for id in order:
        digests[id] = hash(_content(graph.nodes[id], digests))
    return digests


def _with_users(graph: Graph, digests: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Return digests with others that stand for all downstream of each node."""
    uses: dict[str, list[int]] = defaultdict(list)
    downstream: dict[str, int] = {}
    for id in reversed(list(digests)):
        node = graph.nodes[id]
        downstream[id] = hash((_content(node, None), tuple(sorted(uses[id]))))
        for name, link in node.links():
            uses[link.node].append(hash((name, str(link.output), downstream[id], digests[id])))
    return {id: (digest, downstream[id]) for id, digest in digests.items()}


def _contents(graph: Graph) -> dict[str, Any]:
    return {id: _content(node, None) for id, node in graph.nodes.items()}


def _content(node: Node, digests: Mapping[str, int] | None) -> tuple[Any, ...]:
    """Return type and inputs of a node; of links the origin's digest, or the output."""
    inputs = (
        (name, digests.get(value.node) if digests is not None else None, str(value.output))
        if isinstance(value, Link)
        else (name, value.name if isinstance(value, InputRef) else repr(value))
        for name, value in node.inputs.items()
    )
    return node.type, tuple(sorted(inputs, key=itemgetter(0)))
