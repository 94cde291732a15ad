"""Uses of parts -> their nodes, one by one, with the values and links of each use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import FormatError, did_you_mean
from .parts import (
    MAX_PASSES,
    Body,
    Count,
    Part,
    PartUse,
    Passes,
    count_passes,
    pass_name,
    use_ids,
    value_of_pass,
)
from .records import InputRef, Link, Node

MAX_EXPANDED = 100_000


@dataclass(frozen=True, kw_only=True)
class UseEntry:
    """A use of a part, as a file declares it: values for its inputs."""

    part: str
    inputs: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class PassesEntry(UseEntry):
    """Uses in a row; see `parts.Passes`.

    Attributes:
        carried: where passes repeat a node, the outputs that carried inputs are given, by input;
            those that are not there are given its first output.
    """

    over: Mapping[str, tuple[Any, ...] | InputRef | Count]
    carry: tuple[str, ...] = ()
    carried: Mapping[str, str] = field(default_factory=dict)


Entry = Node | UseEntry | PassesEntry


def expand(
    entries: Mapping[str, Entry], parts: Mapping[str, Part], lists: Mapping[str, Any]
) -> Body:
    """Return the nodes of entries and of the parts that they use.

    Args:
        lists: the values of the graph's inputs, by name; lists among them make passes.

    Raises:
        FormatError: a part or an input is unknown or missing, or passes do not fit together.
    """
    if not any(isinstance(entry, UseEntry) for entry in entries.values()):
        return Body(nodes={id: entry for id, entry in entries.items() if isinstance(entry, Node)})
    return _Expansion(entries, parts, lists).body()


def expand_part(
    entries: Mapping[str, Entry], parts: Mapping[str, Part], outputs: Mapping[str, Any]
) -> tuple[Body, dict[str, Any]]:
    """Return the nodes of a part's entries, and its outputs as those of nodes.

    Raises:
        FormatError: as in `expand`.
    """
    expansion = _Expansion(entries, parts, {})
    body = expansion.body()
    return body, {name: expansion.source(value) for name, value in outputs.items()}


@dataclass(frozen=True)
class _Use:
    """A use whose inputs all have a value; links in them may lead to uses."""

    part: Part
    record: PartUse
    values: Mapping[str, Any]


@dataclass
class _Expansion:
    entries: Mapping[str, Entry]
    parts: Mapping[str, Part]
    lists: Mapping[str, Any]
    uses: dict[str, _Use] = field(default_factory=dict)
    passes: dict[str, Passes] = field(default_factory=dict)

    def body(self) -> Body:
        for name, entry in self.entries.items():
            if isinstance(entry, UseEntry):
                for use_name, use in self._uses_of(name, entry):
                    if use_name in self.uses or (use_name != name and use_name in self.entries):
                        raise FormatError(f"node {name}: the name {use_name} is used twice")
                    self.uses[use_name] = use
        nodes: dict[str, Node] = {}
        for id, node in self._nodes():
            if id in nodes:
                raise FormatError(f"node {id}: the name is used twice")
            nodes[id] = node
            if len(nodes) > MAX_EXPANDED:
                raise FormatError(f"expected at most {MAX_EXPANDED} nodes in all uses of parts")
        records = {name: use.record for name, use in self.uses.items()}
        return Body(nodes=nodes, uses=records, passes=self.passes)

    def _uses_of(self, name: str, entry: UseEntry) -> Iterator[tuple[str, _Use]]:
        part = self.parts.get(entry.part)
        if part is None:
            hint = did_you_mean(entry.part, self.parts)
            expected = f"a part of the file ({', '.join(self.parts) or 'none'})"
            raise _error(f"node {name}", expected, entry.part, hint)
        if not isinstance(entry, PassesEntry):
            yield name, _use(name, part, entry, entry.inputs)
            return
        count = self._count(name, part, entry)
        names = tuple(pass_name(name, index) for index in range(count))
        over = dict(entry.over)
        self.passes[name] = Passes(
            part=entry.part, uses=names, over=over, carry=entry.carry, title=entry.title
        )
        plain = replace(UseEntry(part=entry.part, inputs={}), title="")
        for index, use_name in enumerate(names):
            own = {port: value_of_pass(series, index) for port, series in over.items()}
            carried = {port: Link(names[index - 1], port) for port in entry.carry if index}
            yield use_name, _use(name, part, plain, {**entry.inputs, **own, **carried}, use_name)

    def _count(self, name: str, part: Part, entry: PassesEntry) -> int:
        """Return the number of passes, after checking what they go over and carry."""
        for port in (*entry.over, *entry.carry):
            _check_input(f"node {name}", part, entry.part, port)
        for port in entry.carry:
            if part.output(port) is None:
                expected = f"an output of the part {entry.part} ({', '.join(part.outputs)})"
                raise _error(f"node {name}, carry", expected, port)
        for port, series in entry.over.items():
            is_list = not isinstance(series, InputRef) or isinstance(
                self.lists.get(series.name), list | tuple
            )
            if not is_list:
                expected = "an input of the graph whose default is a list"
                raise _error(f"node {name}, over, {port}", expected, str(series))
        count = count_passes(entry.over, self.lists)
        if not 1 <= count <= MAX_PASSES:
            expected = f"lists of 1 to {MAX_PASSES} values"
            raise _error(f"node {name}, over", expected, f"{count} values")
        lengths = {port: len(s) for port, s in entry.over.items() if isinstance(s, tuple)}
        is_decided = any(isinstance(series, InputRef) for series in entry.over.values())
        for port, length in lengths.items():
            if length < count or (length != count and not is_decided):
                hint = f"{port}: {{from: 1}} counts on for any number of passes"
                raise _error(f"node {name}, over, {port}", f"{count} values", str(length), hint)
        return count

    def _nodes(self) -> Iterator[tuple[str, Node]]:
        for name, entry in self.entries.items():
            if isinstance(entry, Node):
                yield name, self._with_values(entry, {}, None)
                continue
            for use_name in self.passes[name].uses if name in self.passes else (name,):
                use = self.uses[use_name]
                for inner, node in use.part.body.nodes.items():
                    yield use.record.nodes[inner], self._with_values(node, use.record.nodes, use)

    def _with_values(self, node: Node, ids: Mapping[str, str], use: _Use | None) -> Node:
        """Return a node with the values of its use; links lead to nodes."""
        values = {}
        for name, value in node.inputs.items():
            if isinstance(value, Link):
                inner = Link(ids[value.node], value.output) if use is not None else value
                values[name] = inner if use is not None else self.source(value)
            elif isinstance(value, InputRef) and use is not None:
                given = self.source(use.values[value.name])
                if given is not None or not use.part.inputs[value.name].optional:
                    values[name] = given
            else:
                values[name] = value
        return replace(node, inputs=values)

    def source(self, value: Any) -> Any:
        """Return what a link leads to: the output of a node, or a value that a part passes on."""
        seen: set[Link] = set()
        while isinstance(value, Link):
            name = self.passes[value.node].uses[-1] if value.node in self.passes else value.node
            use = self.uses.get(name)
            if use is None:
                return value
            if value in seen:
                raise FormatError(f"node {name}: its inputs and outputs form a cycle")
            seen.add(value)
            output = use.part.output(value.output)
            if isinstance(output, Link):
                return Link(use.record.nodes[output.node], output.output)
            if isinstance(output, InputRef):
                value = use.values[output.name]
            elif output is not None:
                return output
            elif name in use.record.nodes.values():
                return Link(name, value.output)
            else:
                listed = ", ".join(use.part.outputs) or "none"
                expected = f"an output of the part {use.record.part} ({listed})"
                hint = did_you_mean(str(value.output), use.part.outputs)
                raise _error(f"node {name}", expected, str(value), hint)
        return value


def _use(
    name: str, part: Part, entry: UseEntry, given: Mapping[str, Any], use_name: str = ""
) -> _Use:
    for port in given:
        _check_input(f"node {name}", part, entry.part, port)
    values = {port: item.default for port, item in part.inputs.items()} | dict(given)
    for port in (port for port, value in values.items() if value is None):
        if part.inputs[port].optional:
            continue
        if port not in given and any(True for _ in part.ports_of(port)):
            expected = f"a value for {port}, an input of the part {entry.part}"
            raise _error(f"node {name}", expected, "none")
    ids = use_ids(use_name or name, part.body.nodes)
    return _Use(part, PartUse(part=entry.part, nodes=ids, title=entry.title), values)


def _check_input(where: str, part: Part, part_name: str, port: str) -> None:
    if port not in part.inputs:
        expected = f"an input of the part {part_name} ({', '.join(part.inputs) or 'none'})"
        raise _error(where, expected, port, did_you_mean(port, part.inputs))


def _error(where: str, expected: str, got: str, hint: str = "") -> FormatError:
    message = f"{where}: expected {expected}, got {got}"
    return FormatError(f"{message}\n  try:     {hint}" if hint else message)
