"""Advice: graphs that run, but hardly do what was meant.

Here are the rules' runner and the one rule that knows no node; packs of nodes bring rules for
theirs with `@rule`. A rule looks at one node and up the graph from it, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ..node.registry import Registry
from .graph import Graph
from .validate import Files, Prepared, prepare


@dataclass(frozen=True)
class LintWarning:
    """Something in a graph that is allowed and hardly wanted.

    Attributes:
        rule: a stable word for machines, such as `same-seed`.
        node, type, port: where; the port is empty where the whole node is meant.
        text: what will come of it.
        hint: what to do instead.
    """

    rule: str
    node: str
    type: str
    port: str
    text: str
    hint: str

    def __str__(self) -> str:
        place = f"{self.type} ({self.node})" + (f" .{self.port}" if self.port else "")
        return f"{place}: {self.text}\n  try:     {self.hint}"


class Finding(NamedTuple):
    """What a rule says of a node: the port that it is about, what will come of it, and a remedy."""

    port: str
    text: str
    hint: str


class Spot:
    """A node of a graph, as a rule sees it: its values, and the nodes that it is linked to."""

    def __init__(self, node: Prepared, nodes: Mapping[str, Prepared]) -> None:
        self._node, self._nodes = node, nodes

    @property
    def id(self) -> str:
        """The node's id."""
        return self._node.id

    @property
    def type(self) -> str:
        """The node's type."""
        return self._node.spec.name

    def __getitem__(self, port: str) -> Any:
        """The value of an input; None if it is linked, or there is none."""
        return self._node.literals.get(port)

    def number(self, port: str) -> float:
        """The value of an input that is a number; NaN, which no comparison holds for, if none."""
        value = self[port]
        return float(value) if isinstance(value, int | float) else float("nan")

    def file(self, port: str) -> Path | None:
        """The file that an input names; None if it names none."""
        found = self._node.files.get(port)
        return found.path if found is not None else None

    def origin(self, port: str) -> Self | None:
        """The node that an input is linked to; None if it is not linked."""
        source = self._node.links.get(port)
        found = self._nodes.get(source.node) if source is not None else None
        return type(self)(found, self._nodes) if found is not None else None

    def way(self, port: str, through: str) -> Iterator[Self]:
        """The nodes above an input, followed as long as they have an input called `through`."""
        found = self.origin(port)
        while found is not None:
            yield found
            found = found.origin(through)


Rule = Callable[[Spot], Iterator[Finding]]
_rules: dict[str, dict[str, Rule]] = {}


def rule(*types: str) -> Callable[[Rule], Rule]:
    """Ask the function below about each node of these types; its name names the rule."""

    def declare(function: Rule) -> Rule:
        name = function.__name__.replace("_", "-")
        for type_name in types:
            _rules.setdefault(type_name, {})[name] = function
        return function

    return declare


def lint(graph: Graph, registry: Registry, files: Files) -> tuple[LintWarning, ...]:
    """Advice about a graph, in the order of its nodes; of a graph with problems, what can be said.

    Inputs count with their defaults.
    """
    prepared = prepare(graph, registry, files)
    found = [
        warning for node in prepared.nodes.values() for warning in _about(node, prepared.nodes)
    ]
    if prepared.targets:
        found += [_unused(id, type_name) for id, type_name in prepared.unneeded]
    order = {id: place for place, id in enumerate(graph.nodes)}
    return tuple(sorted(found, key=lambda warning: order[warning.node]))


def _about(node: Prepared, nodes: Mapping[str, Prepared]) -> Iterator[LintWarning]:
    spot = Spot(node, nodes)
    for name, look in _rules.get(node.spec.name, {}).items():
        for finding in look(spot):
            yield LintWarning(name, node.id, node.spec.name, *finding)


def _unused(id: str, type_name: str) -> LintWarning:
    text = "no output node needs it, so it will not run"
    return LintWarning(
        "unused", id, type_name, "", text, "link it to what is saved or shown, or remove"
    )
