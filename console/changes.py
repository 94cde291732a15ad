"""--input and --set: turn strings of the command line into values of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.native_values import read_value
from latentloom.engine.formats.parsing import parse_yaml
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.literal import is_unicode
from latentloom.engine.node.registry import Registry

PATH_INPUTS = ("image", "mask", "file")
Assignments = Iterable[tuple[str, str]]


def apply_changes(
    graph: Graph, registry: Registry, inputs: Assignments, node_inputs: Assignments
) -> tuple[Graph, frozenset[Path]]:
    """Return the graph with these changes, and the files that they name.

    Args:
        inputs: (name, text) for inputs of the graph; an image may be anywhere on disk, and a
            list has commas between its values.
        node_inputs: (node.input, text); the text is read as the port's type.

    Raises:
        FormatError: a value cannot be parsed, or names a missing file.
        GraphError: there is no such input or node.
    """
    granted: set[Path] = set()
    for name, text in inputs:
        graph = graph.set_input(name, _input_value(graph, name, text, granted))
    for target, text in node_inputs:
        graph = graph.set(target, _port_value(graph, registry, target, text, granted))
    return graph, frozenset(granted)


def read_change(
    graph: Graph, registry: Registry, target: str, text: str
) -> tuple[Any, frozenset[Path]]:
    """Return the value that a string stands for at an input, and the files that it names.

    Args:
        target: the name of an input of the graph, or `node.input`.

    Raises:
        FormatError: the value cannot be parsed, or names a missing file.
    """
    granted: set[Path] = set()
    if graph.split(target)[0]:
        value = _port_value(graph, registry, target, text, granted)
    else:
        value = _input_value(graph, target, text, granted)
    return value, frozenset(granted)


def _input_value(graph: Graph, name: str, text: str, granted: set[Path]) -> Any:
    where, declared = f"--input {name}", graph.inputs.get(name)
    kind = declared.type if declared is not None else ""

    def read(text: str) -> Any:
        if kind in PATH_INPUTS:
            return _file(where, text, granted)
        return _text(where, text) if kind == "string" else _scalar(where, text)

    if declared is None or not declared.is_list:
        return read(text)
    return [read(item.strip()) for item in text.strip("[]").split(",")]


def _port_value(
    graph: Graph, registry: Registry, target: str, text: str, granted: set[Path]
) -> Any:
    id, name = graph.split(target)
    id, name = graph.ports_behind(id, name)[0]
    spec = registry.get(graph.nodes[id].type) if id in graph.nodes else None
    given = {**graph.nodes[id].inputs, name: text} if spec else {}
    port = spec.fitted(given).port(name) if spec else None
    if text.startswith("$"):
        return read_value(target, text)
    where = f"--set {target}"
    if port is not None and port.file is not None and port.file.resolve is None:
        return _file(where, text, granted)
    if port is not None and port.type in ("STRING", "COMBO"):
        return _text(where, text)
    return _scalar(where, text)


def _file(where: str, text: str, granted: set[Path]) -> str:
    """Return the absolute path of a file; a relative name that does not exist is left as it is."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise FormatError(f"{where}: no such user: {text}") from error
    if path.exists():
        granted.add(path.absolute())
        return str(path.absolute())
    if path.is_absolute():
        raise FormatError(f"{where}: no such file: {path}")
    return text


def _text(where: str, text: str) -> str:
    """Return a string of the command line, which may contain bytes that are not UTF-8."""
    if not is_unicode(text):
        raise FormatError(f"{where}: expected UTF-8 text, got {text[:40]!a}")
    return text


def _scalar(where: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
