"""Passes of a single node: `repeat: KSampler` stands for a part that has this node alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..errors import FormatError, did_you_mean
from ..node.spec import NodeSpec
from .expand import Entry, PassesEntry
from .migrations import read_versioned
from .parts import Body, Part, PartInput
from .records import NODE_VERSION, InputRef, Link, Node

NODE = "node"
"""The name of the node inside the part."""


def with_repeated_nodes(
    entries: Mapping[str, Entry], parts: Mapping[str, Part], specs: Mapping[str, NodeSpec]
) -> tuple[dict[str, Entry], dict[str, Part]]:
    """Return the entries, and the parts with one more for each node that passes repeat.

    Raises:
        FormatError: the node has no output that it could carry.
    """
    changed, added = dict(entries), dict(parts)
    for id, entry in entries.items():
        if not isinstance(entry, PassesEntry):
            continue
        if _is_part(entry.part, parts, specs):
            _check_carry(id, entry)
        else:
            name = next(free for free in _names(id) if free not in added)
            changed[id], added[name] = _repeated(id, entry, name, specs)
    return changed, added


def repeated_node(part: Part) -> Node | None:
    """Return the node that passes repeat if a part stands for it; None for declared parts."""
    return part.body.nodes[NODE] if part.is_node else None


def carried_outputs(part: Part, carry: tuple[str, ...]) -> dict[str, str | int] | None:
    """Return the outputs that a repeated node carries, by input; None if each is its first."""
    held = {port: part.outputs[port].output for port in carry}
    own = (value.output for name, value in part.outputs.items() if name not in carry)
    first = next(own, 0)  # nothing declares the outputs of a node that is not installed
    return None if all(output == first for output in held.values()) else held


def _is_part(name: str, parts: Mapping[str, Part], specs: Mapping[str, NodeSpec]) -> bool:
    """Return whether passes mean a part: one that is declared, or one whose name is misspelled."""
    if name in parts or read_versioned(name)[0] in specs:
        return name in parts
    return bool(did_you_mean(name, parts))


def _check_carry(id: str, entry: PassesEntry) -> None:
    other = {port: output for port, output in entry.carried.items() if port != output}
    if other:
        expected = "inputs whose name is that of the output they are given"
        hint = "name the output of the part like the input"
        raise FormatError(f"node {id}, carry: expected {expected}, got {other}\n  try:     {hint}")


def _names(id: str) -> Iterator[str]:
    name = f"repeat {id}"
    while True:
        yield name
        name += "_"


def _repeated(
    id: str, entry: PassesEntry, name: str, specs: Mapping[str, NodeSpec]
) -> tuple[PassesEntry, Part]:
    type_name, version = read_versioned(entry.part)
    spec = specs.get(type_name)
    if spec is not None:
        carry = tuple(spec.current_name(port) or port for port in entry.carry)
        entry = replace(
            entry,
            inputs=spec.current_names(entry.inputs),
            over=spec.current_names(entry.over),
            carry=carry,
            carried=dict(zip(carry, entry.carried.values(), strict=False)),
        )
    ports = tuple(dict.fromkeys([*entry.inputs, *entry.over, *entry.carry]))
    node = Node(
        type_name,
        {port: InputRef(port) for port in ports},
        extra={NODE_VERSION: version} if version else {},
    )
    outputs: dict[str, Any] = {}
    if spec is not None:
        outputs = {output.name: Link(NODE, output.name) for output in spec.outputs}
    first: str | int = next(iter(outputs), 0)
    for port in entry.carry:
        output = entry.carried.get(port, first)
        if spec is not None and spec.output_index(output) is None:
            listed = ", ".join(item.name for item in spec.outputs) or "none"
            expected = f"an output of {type_name} ({listed})"
            raise FormatError(f"node {id}, carry, {port}: expected {expected}, got {output}")
        outputs[port] = Link(NODE, output)
    part = Part(
        body=Body(nodes={NODE: node}),
        inputs={port: PartInput() for port in ports},
        outputs=outputs,
        is_node=True,
    )
    return replace(entry, part=name), part
