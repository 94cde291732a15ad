"""Warnings about graphs that are valid but probably not what was meant.

This module asks the rules of all packs, and has the two that concern every node. A rule looks
at one node and at the nodes upstream of it; it runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from ..errors import Problem, bounded_suggestions, did_you_mean
from ..node.extension import Extension
from ..node.registry import Registry
from .graph import Graph, InputRef, Link, Node
from .literal import describe_value
from .migrations import read_versioned, versioned
from .prepared import Files, Prepared
from .records import SETTINGS_FORM
from .validate import prepare


@dataclass(frozen=True, kw_only=True)
class LintWarning:
    """A warning about one node of a graph.

    Attributes:
        rule: a stable word for programs, such as `same-seed`.
        node, type: id and type of the node; empty if the warning concerns the file.
        port: the input; empty if the warning concerns the whole node.
        text: the consequence.
        hint: what to do instead.
    """

    rule: str
    node: str
    type: str
    port: str = ""
    text: str
    hint: str

    def __str__(self) -> str:
        subject = f"{self.type} ({self.node})" + (f" .{self.port}" if self.port else "")
        subject = subject if self.node else "the file"
        return f"{subject}: {self.text}\n  try:     {self.hint}"


class Finding(NamedTuple):
    """A rule's remark on a node: the input that it concerns, the consequence, and a remedy."""

    port: str
    text: str
    hint: str


class NodeView:
    """A node of a graph as a rule sees it: its values, and the nodes that it is linked to."""

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
        """Return the value of an input; None if it is linked or does not exist."""
        return self._node.literals.get(port)

    def number(self, port: str) -> float:
        """Return the value of a numeric input; NaN, for which every comparison fails, if none."""
        value = self[port]
        return float(value) if isinstance(value, int | float) else float("nan")

    def file(self, port: str) -> Path | None:
        """Return the file that an input names; None if it names none."""
        file = self._node.files.get(port)
        return file.path if file is not None else None

    def origin(self, port: str) -> Self | None:
        """Return the node that an input is linked to; None if it is not linked."""
        source = self._node.links.get(port)
        origin = self._nodes.get(source.node) if source is not None else None
        return type(self)(origin, self._nodes) if origin is not None else None

    def chain(self, port: str, through: str) -> Iterator[Self]:
        """Yield the node linked to an input, the one linked to its input `through`, and so on.

        Each node is yielded once, also where links form a cycle.
        """
        visited: set[str] = set()
        node = self.origin(port)
        while node is not None and node._node.id not in visited:
            visited.add(node._node.id)
            yield node
            node = node.origin(through)


CheckNode = Callable[[NodeView], Iterator[Finding]]


@dataclass(frozen=True)
class LintRule(Extension):
    """A rule about nodes of some types; declare one with `@rule`."""

    name: str
    types: frozenset[str]
    check: CheckNode


def rule(*types: str) -> Callable[[CheckNode], LintRule]:
    """Declare a function as a rule about nodes of these types, named like the function."""

    def declare(check: CheckNode) -> LintRule:
        return LintRule(check.__name__.replace("_", "-"), frozenset(types), check)

    return declare


@bounded_suggestions()
def lint(graph: Graph, registry: Registry, files: Files) -> tuple[LintWarning, ...]:
    """Return the warnings about a graph, in the order of its nodes.

    Graph inputs count with their defaults. A graph with errors is checked as far as possible.
    """
    prepared = prepare(graph, registry, files)
    rules = registry.extensions(LintRule)
    warnings = [
        _warning(rule, node, finding)
        for node in prepared.nodes.values()
        for rule in rules
        if node.spec.name in rule.types
        for finding in rule.check(NodeView(node, prepared.nodes))
    ]
    warnings += file_warnings(graph, registry) + settings_warnings(graph)
    warnings += [_lacking(problem) for lacks in prepared.lacking.values() for problem in lacks]
    if prepared.targets:
        warnings += [_unused(id, graph.nodes[id], registry) for id, _ in prepared.unneeded]
    order = {id: position for position, id in enumerate(graph.nodes)}
    return tuple(sorted(warnings, key=lambda warning: order.get(warning.node, -1)))


def _lacking(problem: Problem) -> LintWarning:
    return LintWarning(
        rule="lacking",
        node=problem.node,
        type=problem.type,
        port=problem.port,
        text=f"a run that asks for it fails: expected {problem.expected}, got {problem.got}",
        hint=problem.hint or "choose the other input of the switch",
    )


def _warning(rule: LintRule, node: Prepared, finding: Finding) -> LintWarning:
    return LintWarning(rule=rule.name, node=node.id, type=node.spec.name, **finding._asdict())


def file_warnings(graph: Graph, registry: Registry) -> list[LintWarning]:
    """Return warnings of values in the graph's file that are not used, or not as they stand."""
    versions = _migrated_nodes(graph, registry) + list(_other_versions(graph, registry))
    return versions + _ignored_inputs(graph, registry) + _converted_values(graph)


def settings_warnings(graph: Graph) -> list[LintWarning]:
    """Return warnings of settings in the file, those of another program, that no node holds."""
    if graph.document is None or graph.document.form != SETTINGS_FORM:
        return []
    return [
        LintWarning(
            rule="not-carried",
            node="",
            type="",
            text=f"not carried: {item.reason}",
            hint="convert the file, and add nodes for what matters",
        )
        for item in graph.document.left_out
    ]


def _migrated_nodes(graph: Graph, registry: Registry) -> list[LintWarning]:
    return [
        LintWarning(
            rule="migrated",
            node=id,
            type=node.type,
            text=_migration_text(node, registry),
            hint="convert the file, so that it has the present node",
        )
        for id, node in graph.nodes.items()
        if node.former_type
    ]


def _migration_text(node: Node, registry: Registry) -> str:
    former, version = read_versioned(node.former_type)
    spec = registry.get(node.type)
    if former == node.type and spec is not None:
        return f"version {version} of the node in the file is read as version {spec.version}"
    return f"{node.former_type!r} in the file is read as {node.type}, which replaced it"


def _other_versions(graph: Graph, registry: Registry) -> Iterator[LintWarning]:
    """Yield the nodes that are written for a version that is not installed."""
    for id, node in graph.nodes.items():
        spec = registry.get(node.type)
        if spec is None or node.version in (0, spec.version):
            continue
        text = f"the file is written for version {node.version} of the node, not {spec.version}"
        present = f"check its inputs, then write `node: {versioned(node.type, spec.version)}`"
        is_former = node.version < spec.version
        yield LintWarning(
            rule="node-version",
            node=id,
            type=node.type,
            text=f"{text}, which is installed",
            hint=present if is_former else "update the pack that the node comes from",
        )


def _ignored_inputs(graph: Graph, registry: Registry) -> list[LintWarning]:
    named = [
        _ignored(id, node, name, registry)
        for id, node in graph.nodes.items()
        for name in node.ignored
    ]
    return named + [_unread(id, node) for id, node in graph.nodes.items() if node.unread]


def _converted_values(graph: Graph) -> list[LintWarning]:
    return [
        LintWarning(
            rule="converted-value",
            node=id,
            type=node.type,
            port=name,
            text=f"{describe_value(value)} in the file is used as "
            f"{describe_value(node.inputs[name])}",
            hint="write the value that you mean",
        )
        for id, node in graph.nodes.items()
        for name, value in node.converted.items()
        if name in node.inputs and not isinstance(node.inputs[name], Link | InputRef)
    ]


def _ignored(id: str, node: Node, name: str, registry: Registry) -> LintWarning:
    spec = registry.get(node.type)
    names = [port.name for port in spec.fitted(node.inputs).inputs] if spec is not None else []
    value = node.ignored[name]
    return LintWarning(
        rule="unknown-input",
        node=id,
        type=node.type,
        port=name,
        text=f"the node has no input {name!r}; its value {describe_value(value)} is ignored",
        hint=did_you_mean(name, names) or f"its inputs are {', '.join(names) or 'none'}",
    )


def _unread(id: str, node: Node) -> LintWarning:
    values = ", ".join(map(describe_value, node.unread))
    return LintWarning(
        rule="unread-values",
        node=id,
        type=node.type,
        text=f"the file has more values than the node has fields; ignored: {values}",
        hint="compare the values of all fields: the file is from another version of the node",
    )


def _unused(id: str, node: Node, registry: Registry) -> LintWarning:
    hint = "link it to a node that saves or previews, or remove it"
    if node.type not in registry:
        hint = Problem.unknown_node(node.type, pack=node.pack).hint
    return LintWarning(
        rule="unused",
        node=id,
        type=node.type,
        text="no output node needs it, so it will not run",
        hint=hint,
    )
