"""Changing values in the text of a native YAML file, so that its comments and order stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ..errors import FormatError
from ..graph.graph import Graph, InputRef
from ..graph.parts import Passes, value_of_pass
from .native_nodes import NODE_KEYS, PASSES_KEYS, USE_KEYS
from .native_values import thaw, write_value
from .yaml_text import inline_yaml

# Before the name of an axis; an id of a node has no such start before its input.
SWEEP = "sweep:"
Keys = tuple[str | int, ...]
"""Keys of mappings and indices of lists, from the root of a file to a value."""


def edit_yaml(text: str, graph: Graph, changes: Mapping[str, Any]) -> str:
    """Return the text of a native file with values changed.

    Args:
        text: a file that was read, so that its size is bounded.
        graph: its graph.
        changes: values by `node.input`, also of uses of parts and of passes, or by the name of an
            input of the graph; values of an axis by `sweep:NAME`, NAME as in `over:` of the sweep.

    Raises:
        FormatError: the text has no such value, or could not hold the new one.
    """
    for target, value in changes.items():
        path, held = _locate(graph, target, value)
        text = _with_value(text, path, held)
    return text


def _locate(graph: Graph, target: str, value: Any) -> tuple[Keys, Any]:
    """Return where a value stands in the file, and what stands there afterwards."""
    if target.startswith(SWEEP):
        return ("sweep", "over", target.removeprefix(SWEEP)), value
    node, name = graph.split(target)
    written = write_value(target, value)
    if not node:
        return ("inputs", name, "default"), written
    for id, passes in graph.passes.items():
        if node in passes.uses:
            return _locate_pass(graph, id, passes, passes.uses.index(node), name, written)
    if node in graph.passes:
        keys: Sequence[str] = PASSES_KEYS
    else:
        keys = USE_KEYS if node in graph.uses else NODE_KEYS
    inside = ("inputs", name) if name in keys else (name,)
    return ("nodes", node, *inside), written


def _locate_pass(
    graph: Graph, id: str, passes: Passes, index: int, name: str, written: Any
) -> tuple[Keys, Any]:
    series = passes.over.get(name)
    if isinstance(series, InputRef):
        return ("inputs", series.name, "default", index), written
    where: Keys = ("nodes", id, "over", name)
    if isinstance(series, tuple):
        return (*where, index), written
    if name in passes.carry and index:
        raise FormatError(f"{passes.uses[index]}.{name}: it is the output of the pass before it")
    count = len(passes.uses)
    if series is not None:
        values = [thaw(value_of_pass(series, number)) for number in range(count)]
    else:
        values = [_current(graph, use, name) for use in passes.uses]
    return where, [*values[:index], written, *values[index + 1 :]]


def _current(graph: Graph, use: str, name: str) -> Any:
    """Return the value that a use gives to an input of its part, as a file holds it."""
    record = graph.uses[use]
    for inner, port in graph.parts[record.part].ports_of(name):
        return write_value(f"{use}.{name}", graph.nodes[record.nodes[inner]].inputs.get(port))
    raise FormatError(f"{use}.{name}: expected an input of the part {record.part}")


def _with_value(text: str, path: Keys, value: Any) -> str:
    """Return the text with a value replaced, or with one more key in the last mapping."""
    node: Any = yaml.compose(text, yaml.SafeLoader)
    for depth, key in enumerate(path):
        inner = _child(node, key)
        is_new = depth == len(path) - 1 or path[0] == "sweep"
        if inner is None and is_new and isinstance(node, yaml.MappingNode):
            for name in reversed(path[depth + 1 :]):
                value = {name: value}
            return _with_key(text, node, f"{inline_yaml(key)}: {inline_yaml(value)}")
        if inner is None:
            dotted = ".".join(map(str, path[: depth + 1]))
            raise FormatError(f"{dotted}: expected a value of the file itself, got none")
        node = inner
    start, end = node.start_mark.index, node.end_mark.index
    rest = text[start:end]
    tail = rest[len(rest.rstrip()) :]
    return text[:start] + inline_yaml(value) + tail + text[end:]


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
        return node.value[key] if key < len(node.value) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _with_key(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    if mapping.flow_style:
        last = mapping.value[-1][1].end_mark.index if mapping.value else None
        at = mapping.start_mark.index + 1 if last is None else last
        return f"{text[:at]}{', ' if mapping.value else ''}{entry}{text[at:]}"
    first, column = mapping.value[0][0], mapping.start_mark.column
    start = first.start_mark.index
    return f"{text[:start]}{entry}\n{' ' * column}{text[start:]}"
