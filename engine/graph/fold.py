"""Nodes one by one -> the uses of parts that they are, for files that hold parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import FormatError
from .expand import Entry, PassesEntry, UseEntry, expand
from .parts import Body, Part, PartUse, Passes, value_of_pass
from .records import InputRef, Link, Node


def fold(body: Body, parts: Mapping[str, Part], lists: Mapping[str, Any]) -> dict[str, Entry]:
    """Return the entries that expand to these nodes: uses of parts as far as they still are uses.

    The nodes of a use that was changed beyond its inputs stay nodes.

    Args:
        lists: as in `expand`.
    """
    if not body.uses:
        return dict(body.nodes)
    entries = _Folding(body, parts).entries()
    try:
        expanded = expand(entries, parts, lists).nodes
    except FormatError:
        return dict(body.nodes)
    return entries if _contents(expanded) == _contents(body.nodes) else dict(body.nodes)


def find_values(part: Part, record: PartUse, nodes: Mapping[str, Node]) -> dict[str, Any] | None:
    """Return the values of a part's inputs that give the nodes of a use; None if none do."""
    values: dict[str, Any] = {}
    if record.nodes.keys() != part.body.nodes.keys():
        return None
    for inner, template in part.body.nodes.items():
        node = nodes.get(record.nodes[inner])
        if node is None or _frame(node) != _frame(template):
            return None
        if not node.inputs.keys() <= template.inputs.keys():
            return None
        for name, expected in template.inputs.items():
            value = node.inputs.get(name)
            if name not in node.inputs and not _may_lack(part, expected):
                return None
            if isinstance(expected, InputRef):
                is_fitting = is_same_literal(values.setdefault(expected.name, value), value)
            elif isinstance(expected, Link):
                is_fitting = value == Link(record.nodes[expected.node], expected.output)
            else:
                is_fitting = is_same_literal(value, expected)
            if not is_fitting:
                return None
    return values


def is_same_literal(a: Any, b: Any) -> bool:
    """Return whether two values are written in the same way: 1, 1.0 and true are not."""
    return a == b and type(a) is type(b)


def _frame(node: Node) -> Any:
    return node.type, node.title, tuple(node.positional)


def _may_lack(part: Part, expected: Any) -> bool:
    return isinstance(expected, InputRef) and part.inputs[expected.name].optional


def _contents(nodes: Mapping[str, Node]) -> dict[str, Any]:
    return {
        id: (node.type, node.title, node.inputs, tuple(node.positional))
        for id, node in nodes.items()
    }


class _Folded(NamedTuple):
    part: Part
    record: PartUse
    values: dict[str, Any]


class _Folding:
    def __init__(self, body: Body, parts: Mapping[str, Part]) -> None:
        self._body = body
        self._folded: dict[str, _Folded] = {}
        for name, record in body.uses.items():
            part = parts.get(record.part)
            values = find_values(part, record, body.nodes) if part is not None else None
            if part is not None and values is not None:
                self._folded[name] = _Folded(part, record, values)
        self._outputs = dict(self._find_outputs())
        self._passes = dict(self._find_passes())
        last = {body.passes[name].uses[-1]: name for name in self._passes}
        for inner, outer in self._outputs.items():
            self._outputs[inner] = Link(last.get(outer.node, outer.node), outer.output)

    def entries(self) -> dict[str, Entry]:
        """Return the entries in the order of the first node of each."""
        owners = {
            id: name for name, use in self._folded.items() for id in use.record.nodes.values()
        }
        repeated = {use: name for name in self._passes for use in self._body.passes[name].uses}
        entries: dict[str, Entry] = {}
        for id, node in self._body.nodes.items():
            use = owners.get(id)
            name = id if use is None else repeated.get(use, use)
            if use is None or (name == use and self._folded[use].part.is_node):
                entries[id] = replace(node, inputs=self._outward(node.inputs))
            elif name not in entries:
                entries[name] = self._passes_entry(name) if name != use else self._entry(use)
        return entries

    def _find_outputs(self) -> Iterator[tuple[Link, Link]]:
        """Yield each output of a node that is one of a use, and that of the use."""
        for name, use in self._folded.items():
            for output, value in reversed(list(use.part.outputs.items())):
                if isinstance(value, Link):
                    inner = Link(use.record.nodes[value.node], value.output)
                    yield inner, Link(name, output)

    def _outward(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with links to outputs of uses instead of to their nodes."""
        return {name: self._outward_value(value) for name, value in values.items()}

    def _outward_value(self, value: Any) -> Any:
        return self._outputs.get(value, value) if isinstance(value, Link) else value

    def _entry(self, name: str) -> UseEntry:
        use = self._folded[name]
        given = {
            port: self._outward_value(value)
            for port, value in use.values.items()
            if not self._is_default(use, port, value)
        }
        order = [port for port in use.part.inputs if port in given]
        inputs = {port: given[port] for port in order}
        return UseEntry(part=use.record.part, inputs=inputs, title=use.record.title)

    def _is_default(self, use: _Folded, port: str, value: Any) -> bool:
        default = use.part.inputs[port].default
        if value is None and use.part.inputs[port].optional:
            return True
        if isinstance(default, Link):
            return default in (value, self._outward_value(value))
        return default is not None and is_same_literal(value, default)

    def _find_passes(self) -> Iterator[tuple[str, Passes]]:
        for name, passes in self._body.passes.items():
            is_folded = all(use in self._folded for use in passes.uses)
            if is_folded and name not in self._body.nodes and self._is_carried(passes):
                yield name, passes

    def _is_carried(self, passes: Passes) -> bool:
        """Return whether each pass continues the one before it."""
        return all(
            self._folded[use].values.get(port) == self._output_of(before, port)
            for port in passes.carry
            for before, use in zip(passes.uses, passes.uses[1:], strict=False)
        )

    def _output_of(self, name: str, output: str) -> Link | None:
        """Return the output of a node that is one of a use."""
        use = self._folded[name]
        value = use.part.outputs.get(output)
        return Link(use.record.nodes[value.node], value.output) if isinstance(value, Link) else None

    def _passes_entry(self, name: str) -> PassesEntry:
        passes = self._passes[name]
        rows = [self._folded[use].values for use in passes.uses]
        over = {port: _series(series, rows, port) for port, series in passes.over.items()}
        for port in self._folded[passes.uses[0]].part.inputs:
            values = tuple(row.get(port) for row in rows)
            is_free = port not in over and port not in passes.carry
            if is_free and not all(is_same_literal(value, values[0]) for value in values):
                over[port] = values
        outward = {
            port: tuple(map(self._outward_value, series)) if isinstance(series, tuple) else series
            for port, series in over.items()
        }
        entry = self._entry(passes.uses[0])
        return PassesEntry(
            part=passes.part,
            inputs={port: value for port, value in entry.inputs.items() if port not in over},
            over=outward,
            carry=passes.carry,
            title=passes.title,
        )


def _series(series: Any, rows: list[dict[str, Any]], port: str) -> Any:
    """Return what passes went over if their values still are those, else a list of the values."""
    if not any(port in row for row in rows):
        return series
    values = tuple(row.get(port) for row in rows)
    try:
        before = tuple(value_of_pass(series, index) for index in range(len(rows)))
    except IndexError:
        return values
    return series if all(map(is_same_literal, before, values)) else values
