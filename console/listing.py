"""The installed nodes, and the installed models from their headers alone."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import GraphError, Problem
from latentloom.engine.formats.manifest import MANIFEST_SCHEMA
from latentloom.engine.formats.schema import native_schema
from latentloom.engine.formats.stubs import write_stubs
from latentloom.engine.node.ports import File
from latentloom.engine.node.registry import Registry

from .node_table import node_page
from .views import format_node, format_node_table, format_table, node_to_object, to_json

COLUMNS = ("kind", "name", "family", "precision", "size", "hash", "path")
SHORT_HASH = 10
UNITS = ("B", "kB", "MB", "GB")


def print_nodes(options: argparse.Namespace, registry: Registry) -> None:
    """Print all nodes or the one that is asked for: text, JSON, Markdown, or stubs for Python.

    Raises:
        GraphError: there is no such node.
        OSError: the stubs cannot be written.
    """
    if options.markdown:
        print(node_page(registry), end="")
    elif options.stubs:
        print(write_stubs(registry, Path(options.stubs)))
    elif not options.name:
        specs = {name: node_to_object(spec) for name, spec in sorted(registry.items())}
        print(to_json(specs) if options.json else format_node_table(registry))
    else:
        spec = registry.get(options.name)
        if spec is None:
            near = registry.near(options.name)
            remedy = "see: latentloom nodes"
            raise GraphError([Problem.unknown_node(options.name, near, remedy=remedy)])
        print(to_json(node_to_object(spec)) if options.json else format_node(spec))


def print_schema(of: str, registry: Registry) -> None:
    """Print the JSON schema of native files, or of manifests."""
    print(to_json(MANIFEST_SCHEMA if of == "manifest" else native_schema(registry)))


def model_objects(registry: Registry) -> list[dict[str, Any]]:
    """Return every model that an input of a node can name.

    A model that cannot be read has the reason under `broken`.
    """
    files = {
        file.kind: file
        for spec in registry.values()
        for port in spec.inputs
        for file in port.file_kinds
    }
    return [entry for kind in sorted(files) for entry in _entries(files[kind])]


def model_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Return the models as a table."""
    return format_table(COLUMNS, [_row(model) for model in models])


def _entries(file: File) -> Iterator[dict[str, Any]]:
    if file.names is None or file.resolve is None or file.describe is None:
        return
    for name in file.names():
        entry: dict[str, Any] = {"kind": file.kind, "name": name}
        try:
            path = file.resolve(name)
            entry["path"] = str(path)
            entry |= file.describe(path)
        except (LookupError, ValueError, OSError) as error:
            entry["broken"] = str(error)
        yield entry


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    cells = {**model, "hash": str(model.get("hash", ""))[:SHORT_HASH]}
    cells["size"] = _size(model["size"]) if "size" in model else ""
    if "broken" in model:
        cells["family"] = f"broken: {model['broken']}"
    return tuple(str(cells.get(column, "")) for column in COLUMNS)


def _size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} {UNITS[-1]}"
