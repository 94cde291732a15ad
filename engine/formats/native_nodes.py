"""Entries under `nodes:` of native files: nodes, uses of parts, and passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ..errors import FormatError
from ..graph.expand import Entry, PassesEntry, UseEntry
from ..graph.graph import POSITIONAL, InputRef, Node, freeze
from ..graph.literal import describe_value
from ..graph.migrations import read_versioned, versioned
from ..graph.parts import Count, Part
from ..graph.records import NODE_VERSION
from ..graph.repeated import carried_outputs, repeated_node
from ..node.spec import NodeSpec
from .comfy_layout import mapping_in
from .comfy_placeholders import pack_of
from .native_values import as_mapping, check_keys, read_value, text_in, thaw, write_value

NODE_KEYS: tuple[str, ...] = ("node", "title", "inputs", POSITIONAL)
USE_KEYS = ("part", "title", "inputs")
PASSES_KEYS = ("repeat", "title", "inputs", "over", "carry")
COUNT_KEYS = ("from", "step")


def read_entry(
    id: str, entry: Any, specs: Mapping[str, NodeSpec], layout: Mapping[str, Any]
) -> Entry:
    """Return a node, or a use of a part.

    Args:
        specs: the installed nodes; with them, former names of inputs become current ones.
        layout: of the file; it says which pack a node comes from.

    Raises:
        FormatError: it is neither, or holds what the format does not have there.
    """
    if not isinstance(entry, Mapping):
        entry = {"node": None} if entry is None else {"node": entry}
    if isinstance(entry.get("node"), str):
        return _read_node(id, entry, specs, layout)
    where = f"node {id}"
    for key in ("part", "repeat"):
        if isinstance(entry.get(key), str):
            return _read_use(where, entry, key)
    raise FormatError(
        f"{where}: expected a mapping with `node: <type>`, `part: <name>` or `repeat: <name>`, "
        f"got {describe_value(entry)}"
    )


def write_entry(id: str, entry: Entry, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return a node, or a use of a part, as a file holds it.

    Args:
        parts: of the graph.

    Raises:
        FormatError: a part of it would not be read back unchanged.
    """
    if isinstance(entry, Node):
        written: dict[str, Any] = {"node": versioned(entry.type, entry.version)}
        keys = NODE_KEYS
    else:
        key = "repeat" if isinstance(entry, PassesEntry) else "part"
        node = repeated_node(parts[entry.part])
        shown = entry.part if node is None else versioned(node.type, node.version)
        written, keys = {key: shown}, PASSES_KEYS if key == "repeat" else USE_KEYS
    if entry.title:
        written["title"] = entry.title
    if isinstance(entry, PassesEntry):
        written["over"] = {
            name: _write_series(f"node {id}, {name}", series) for name, series in entry.over.items()
        }
        part = parts[entry.part]
        outputs = carried_outputs(part, entry.carry) if part.is_node else None
        if entry.carry:
            names = entry.carry[0] if len(entry.carry) == 1 else list(entry.carry)
            written["carry"] = names if outputs is None else outputs
    values = {
        name: write_value(f"node {id}, {name}", value) for name, value in entry.inputs.items()
    }
    written |= {name: value for name, value in values.items() if name not in keys}
    clashing = {name: value for name, value in values.items() if name in keys}
    if isinstance(entry, Node) and entry.positional:
        written[POSITIONAL] = thaw(tuple(entry.positional))
    return written | ({"inputs": clashing} if clashing else {})


def _read_node(
    id: str, entry: Mapping[Any, Any], specs: Mapping[str, NodeSpec], layout: Mapping[str, Any]
) -> Node:
    where = f"node {id}"
    positional = entry.get(POSITIONAL)
    inputs = _read_inputs(where, entry, NODE_KEYS)
    if POSITIONAL in entry and not isinstance(positional, list):
        inputs[POSITIONAL] = read_value(f"{where}, {POSITIONAL}", positional)
    type_name, version = read_versioned(entry["node"])
    spec = specs.get(type_name)
    if spec is not None:
        inputs = spec.current_names(inputs)
    extra: dict[str, Any] = {POSITIONAL: tuple(positional)} if isinstance(positional, list) else {}
    properties = mapping_in(layout, "nodes", id).get("properties")
    extra |= pack_of(type_name, properties, specs)
    extra |= {NODE_VERSION: version} if version else {}
    return Node(type_name, inputs, text_in(entry, "title"), extra)


def _read_inputs(where: str, entry: Mapping[Any, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of inputs, also of those that are called as a key."""
    clashing = as_mapping(entry.get("inputs"), f"{where}, inputs")
    plain = {name: value for name, value in entry.items() if name not in keys}
    return {
        str(name): read_value(f"{where}, {name}", value)
        for name, value in {**plain, **clashing}.items()
    }


def _read_use(where: str, entry: Mapping[Any, Any], key: str) -> UseEntry:
    title = text_in(entry, "title")
    if key == "part":
        inputs = _read_inputs(where, entry, USE_KEYS)
        return UseEntry(part=entry["part"], inputs=inputs, title=title)
    over = as_mapping(entry.get("over"), f"{where}, over")
    carry = entry.get("carry", [])
    names = [carry] if isinstance(carry, str) else carry
    carried = names if isinstance(names, Mapping) else {}
    if not isinstance(names, list | Mapping) or not _are_strings([*names, *carried.values()]):
        expected = "an input, a list of inputs, or the output that each is given"
        raise FormatError(f"{where}, carry: expected {expected}, got {describe_value(carry)}")
    return PassesEntry(
        part=entry["repeat"],
        inputs=_read_inputs(where, entry, PASSES_KEYS),
        title=title,
        over={
            str(name): _read_series(f"{where}, over, {name}", held) for name, held in over.items()
        },
        carry=tuple(names),
        carried=dict(carried),
    )


def _are_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _read_series(where: str, value: Any) -> tuple[Any, ...] | InputRef | Count:
    if isinstance(value, list):
        return tuple(freeze(read_value(where, item)) for item in value)
    if isinstance(value, Mapping):
        check_keys(value, COUNT_KEYS, where)
        first, step = value.get("from"), value.get("step", 1)
        if _is_number(first) and _is_number(step):
            return Count(first, step)
    read = read_value(where, value)
    if isinstance(read, InputRef):
        return read
    expected = "a list of values, ${input} for a list of the graph, or {from: number}"
    raise FormatError(f"{where}: expected {expected}, got {describe_value(value)}")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float)


def _write_series(where: str, series: tuple[Any, ...] | InputRef | Count) -> Any:
    if isinstance(series, tuple):
        return [write_value(where, item) for item in series]
    if isinstance(series, Count):
        return {"from": series.first} | ({} if series.step == 1 else {"step": series.step})
    return write_value(where, series)
