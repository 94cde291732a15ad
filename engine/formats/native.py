"""The native format, in YAML or JSON: made to be read, diffed and shared.

    latentloom: 1
    title: A title
    inputs:
      denoise: {type: float, default: 0.5, min: 0, max: 1}
    nodes:
      model: {node: CheckpointLoaderSimple, ckpt_name: demo}
      pass1: {node: KSampler, model: $model.MODEL, denoise: "${denoise}"}
    layout: {}

`$node.OUTPUT` is a link and `${name}` a graph input; `$$` at the start of a string stands for `$`.
Inputs of a node that are called `node`, `title` or `inputs` go under `inputs:` inside the node.
Values of a node that is not known, which have no names, are the list `widgets_values`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..errors import FormatError
from ..graph.graph import POSITIONAL, Graph, GraphInput, InputRef, Link, Node
from ..graph.literal import describe_value, is_unicode
from ..node.spec import NodeSpec
from .comfy_layout import mapping_in
from .comfy_placeholders import pack_of
from .parsing import MAX_VALUE, MIN_SIZE
from .yaml_text import as_yaml

VERSION = 1
KEYS = ("latentloom", "title", "description", "inputs", "nodes", "layout")
NODE_KEYS = ("node", "title", "inputs", POSITIONAL)
INPUT_KEYS = ("type", "default", "min", "max", "choices", "description")
_LINK = re.compile(r"^\$([^\s$.{}](?:[^\s$]*[^\s$.])?)\.([^.$]+)\Z")
_INPUT_REF = re.compile(r"^\$\{([^{}]+)\}\Z")
_INDEX = re.compile(r"^[0-9]{1,9}\Z")


def read_native(data: Mapping[Any, Any], specs: Mapping[str, NodeSpec] | None = None) -> Graph:
    """Read the graph of a parsed file.

    Args:
        specs: the installed nodes; with them, former names of inputs become current ones.

    Raises:
        FormatError: a part of the file is not what the format has there.
    """
    version = data.get("latentloom")
    if type(version) is not int or version != VERSION:
        raise FormatError(f"expected `latentloom: {VERSION}`, got {describe_value(version)}")
    _check_keys(data, KEYS, "the file")
    nodes = _mapping(data.get("nodes"), "nodes")
    inputs = _mapping(data.get("inputs"), "inputs")
    layout = _mapping(data.get("layout"), "layout")
    return Graph(
        nodes={
            str(id): _read_node(str(id), entry, specs or {}, layout) for id, entry in nodes.items()
        },
        inputs={str(name): _read_input(str(name), entry) for name, entry in inputs.items()},
        title=_text(data, "title"),
        description=_text(data, "description"),
        layout=layout,
    )


def to_native(graph: Graph) -> dict[str, Any]:
    """Return a graph as plain values, in the order of a file.

    Raises:
        FormatError: a part of the graph would not be read back unchanged.
    """
    file: dict[str, Any] = {"latentloom": VERSION}
    if graph.title:
        file["title"] = graph.title
    if graph.description:
        file["description"] = graph.description
    if graph.inputs:
        file["inputs"] = {
            name: _write_input(graph_input) for name, graph_input in graph.inputs.items()
        }
    file["nodes"] = {id: _write_node(id, node) for id, node in graph.nodes.items()}
    layout = _layout_of(graph)
    if layout:
        file["layout"] = thaw(layout)
    return refuse_unreadable({key: _with_doubles(value) for key, value in file.items()})


def _with_doubles(value: Any) -> Any:
    """Return a value with integers beyond 64 bits as floats, which is what the editor holds."""
    if isinstance(value, dict):
        return {key: _with_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_doubles(item) for item in value]
    if not isinstance(value, int) or MIN_SIZE <= value <= MAX_VALUE:
        return value
    try:
        return float(value)
    except OverflowError:
        raise FormatError(f"{str(value)[:24]}... cannot be written to a file") from None


def _layout_of(graph: Graph) -> Mapping[str, Any]:
    """Return the layout, with the packs of nodes that a prompt names."""
    packs = {
        id: {"properties": dict(node.extra["_meta"])}
        for id, node in graph.nodes.items()
        if node.extra.get("_meta")
    }
    decorations = {**packs, **mapping_in(graph.layout, "nodes")}
    return {**graph.layout, "nodes": decorations} if packs else graph.layout


def write_json(graph: Graph) -> str:
    """Return a graph as native JSON."""
    return json.dumps(to_native(graph), indent=2, ensure_ascii=False) + "\n"


def write_yaml(graph: Graph) -> str:
    """Return a graph as native YAML: a node on one line if it fits, strings as block literals."""
    return as_yaml(to_native(graph))


def thaw(value: Any) -> Any:
    """Return a frozen literal as plain lists and dicts; an absolute path as its name alone.

    Raises:
        FormatError: it holds a value that files cannot, such as a link inside a list.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): thaw(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [thaw(item) for item in value]
    if isinstance(value, PurePath):
        return value.name if value.is_absolute() else value.as_posix()
    raise FormatError(f"{describe_value(value)} cannot be written to a file")


def _read_node(
    id: str, entry: Any, specs: Mapping[str, NodeSpec], layout: Mapping[str, Any]
) -> Node:
    where = f"node {id}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("node"), str):
        raise FormatError(
            f"{where}: expected a mapping with `node: <type>`, got {describe_value(entry)}"
        )
    clashing = _mapping(entry.get("inputs"), f"{where}, inputs")
    positional = entry.get(POSITIONAL)
    plain = {name: value for name, value in entry.items() if name not in NODE_KEYS}
    if POSITIONAL in entry and not isinstance(positional, list):
        plain[POSITIONAL] = positional
    inputs = {
        str(name): read_value(f"{where}, {name}", value)
        for name, value in {**plain, **clashing}.items()
    }
    spec = specs.get(entry["node"])
    if spec is not None:
        inputs = spec.current_names(inputs)
    extra: dict[str, Any] = {POSITIONAL: tuple(positional)} if isinstance(positional, list) else {}
    properties = mapping_in(layout, "nodes", id).get("properties")
    extra |= pack_of(entry["node"], properties, specs)
    return Node(entry["node"], inputs, _text(entry, "title"), extra)


def read_value(where: str, value: Any) -> Any:
    """Read the value of an input as a literal, Link or InputRef.

    Args:
        where: the input's name, for messages.

    Raises:
        FormatError: a string begins with `$` and is neither a link nor a graph input.
    """
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value.startswith("$$"):
        return value[1:]
    if graph_input := _INPUT_REF.match(value):
        return InputRef(graph_input.group(1))
    if link := _LINK.match(value):
        id, output = link.groups()
        return Link(id, int(output) if _INDEX.match(output) else output)
    raise FormatError(
        f"{where}: expected $node.OUTPUT or ${{input}}, got {describe_value(value)}; "
        "write $$ for a plain $"
    )


def _write_node(id: str, node: Node) -> dict[str, Any]:
    entry: dict[str, Any] = {"node": node.type}
    if node.title:
        entry["title"] = node.title
    values = {
        name: _write_value(f"node {id}, {name}", value) for name, value in node.inputs.items()
    }
    entry |= {name: value for name, value in values.items() if name not in NODE_KEYS}
    clashing = {name: value for name, value in values.items() if name in NODE_KEYS}
    if node.positional:
        entry[POSITIONAL] = thaw(tuple(node.positional))
    return entry | ({"inputs": clashing} if clashing else {})


def _write_value(where: str, value: Any) -> Any:
    if isinstance(value, Link | InputRef):
        text = str(value)
        if not _reads_as(text, value):
            raise FormatError(f"{where}: the name in {text} cannot be used in a link; rename it")
        return text
    if isinstance(value, str) and value.startswith("$"):
        return f"${value}"
    return thaw(value)


def _reads_as(text: str, value: Link | InputRef) -> bool:
    """Return whether a written value is read back unchanged."""
    if isinstance(value, InputRef):
        match = _INPUT_REF.match(text)
        return match is not None and match.group(1) == value.name
    match = _LINK.match(text) if not text.startswith("$$") else None
    if match is None or match.groups() != (value.node, str(value.output)):
        return False
    return isinstance(value.output, int) == bool(_INDEX.match(match.group(2)))


def _read_input(name: str, entry: Any) -> GraphInput:
    where = f"input {name}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise FormatError(f"{where}: expected a mapping with `type:`, got {describe_value(entry)}")
    _check_keys(entry, INPUT_KEYS, where)
    for key in ("min", "max"):
        number = entry.get(key)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise FormatError(f"{where}, {key}: expected a number, got {describe_value(number)}")
    choices = entry.get("choices")
    if choices is not None and not (
        isinstance(choices, list) and all(isinstance(choice, str) for choice in choices)
    ):
        raise FormatError(
            f"{where}, choices: expected a list of strings, got {describe_value(choices)}"
        )
    return GraphInput(
        type=entry["type"],
        default=entry.get("default"),
        min=entry.get("min"),
        max=entry.get("max"),
        choices=None if choices is None else tuple(choices),
        description=_text(entry, "description"),
    )


def _write_input(graph_input: GraphInput) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": graph_input.type}
    for key in INPUT_KEYS[1:]:
        value = getattr(graph_input, key)
        if value is not None and value != "":
            entry[key] = thaw(value)
    if graph_input.default == "":
        entry["default"] = ""
    return entry


def _check_keys(data: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in known:
            raise FormatError(f"{where}: expected one of {', '.join(known)}, got {key!r}")


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FormatError(f"{where}: expected a mapping, got {describe_value(value)}")
    return dict(value)


def _text(data: Mapping[Any, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise FormatError(f"{key}: expected a string, got {describe_value(value)}")
    return value


def refuse_unreadable(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value, after checking that each number and string in it can be read back.

    Raises:
        FormatError: a number is not finite, or a string not valid Unicode.
    """
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise FormatError(f"{item} cannot be written to a file")
        elif isinstance(item, str) and not is_unicode(item):
            raise FormatError(
                f"{item[:40]!a} is not valid Unicode, and cannot be written to a file"
            )
    return value
