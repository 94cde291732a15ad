"""What --input and --set change: the texts of a command line as values of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.native import read_value
from latentloom.engine.formats.parsing import is_unicode, parse_yaml
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.registry import Registry

PATH_INPUTS = ("image", "mask", "file")
Assignments = Iterable[tuple[str, str]]


def changed(
    graph: Graph, registry: Registry, inputs: Assignments, places: Assignments
) -> tuple[Graph, frozenset[Path]]:
    """The graph with these changes, and the files that were named for it.

    Args:
        inputs: (name, text) of inputs of the graph; an image's path may be anywhere.
        places: (node.input, text); a text is read as the port's type reads it.

    Raises:
        FormatError: a text is no value, or names a file that is not there.
        GraphError: there is no such input or node.
    """
    granted: set[Path] = set()
    for name, text in inputs:
        graph = graph.set_input(name, _input_value(graph, name, text, granted))
    for place, text in places:
        graph = graph.set(place, _port_value(graph, registry, place, text, granted))
    return graph, frozenset(granted)


def _input_value(graph: Graph, name: str, text: str, granted: set[Path]) -> Any:
    where, kind = f"--input {name}", graph.inputs[name].type if name in graph.inputs else ""
    if kind in PATH_INPUTS:
        return _file(where, text, granted)
    return _text(where, text) if kind == "string" else _scalar(where, text)


def _port_value(graph: Graph, registry: Registry, place: str, text: str, granted: set[Path]) -> Any:
    id, _, name = place.rpartition(".")
    spec = registry.get(graph.nodes[id].type) if id in graph.nodes else None
    port = spec.port(name) if spec else None
    if text.startswith("$"):
        return read_value(place, text)
    where = f"--set {place}"
    if port is not None and port.file is not None and port.file.resolve is None:
        return _file(where, text, granted)
    if port is not None and port.type in ("STRING", "COMBO"):
        return _text(where, text)
    return _scalar(where, text)


def _file(where: str, text: str, granted: set[Path]) -> str:
    """The path of a file, which may be anywhere; what is none here is looked up by the graph."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise FormatError(f"{where}: there is no such user: {text}") from error
    if path.exists():
        granted.add(path.absolute())
        return str(path.absolute())
    if path.is_absolute():
        raise FormatError(f"{where}: there is no file {path}")
    return text


def _text(where: str, text: str) -> str:
    """A text of the command line, which may hold bytes that are no text."""
    if not is_unicode(text):
        raise FormatError(f"{where}: expected a text in UTF-8, got {text[:40]!a}")
    return text


def _scalar(where: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
