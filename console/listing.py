"""The installed nodes, and the installed models from their headers alone."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError, GraphError, Problem
from latentloom.engine.execution.locks import find_models, model_files
from latentloom.engine.formats.lock_file import LOCK_SCHEMA
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
    """Print the JSON schema of native files, of manifests, or of locks."""
    others = {"manifest": MANIFEST_SCHEMA, "lock": LOCK_SCHEMA}
    print(to_json(others[of] if of in others else native_schema(registry)))


def model_objects(registry: Registry) -> list[dict[str, Any]]:
    """Return every model that an input of a node can name.

    A model that cannot be read has the reason under `broken`.
    """
    return [entry for file in model_files(registry) for entry in _entries(file)]


def print_models(options: argparse.Namespace, registry: Registry) -> int:
    """Print the installed models, or those with a hash; return 1 if none has it, else 0.

    Raises:
        FormatError: the hash is not one.
    """
    if options.find is not None:
        return _print_models_with(options.find.lower(), registry, options.json)
    installed = model_objects(registry)
    if options.json:
        print(to_json({"models": installed}))
    elif installed:
        print(model_table(installed))
    else:
        print(
            "no models are installed; put them into ./models, or set LATENTLOOM_MODELS to a folder"
        )
    return 0


def _print_models_with(digest: str, registry: Registry, as_json: bool) -> int:
    """Print the models whose SHA-256 begins so."""
    if not re.fullmatch(r"[0-9a-f]{8,64}", digest):
        expected = "the first 8 to 64 hexadecimal digits of a SHA-256"
        raise FormatError(f"--find: expected {expected}, got {digest[:80]!r}")
    matches = [
        {"kind": kind, "name": name, "sha256": known}
        for kind, name, known in find_models(registry, digest)
    ]
    if as_json:
        print(to_json({"models": matches}))
    elif matches:
        print(format_table(tuple(matches[0]), [tuple(match.values()) for match in matches]))
    else:
        print(f"no installed model has the SHA-256 {digest}", file=sys.stderr)
    return 0 if matches else 1


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
