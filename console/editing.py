"""`edit`: changes of values, written into a graph file."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError, GraphError
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, load_graph, parse_graph, save_text
from latentloom.engine.formats.editing import SWEEP, edit_yaml
from latentloom.engine.formats.native_values import thaw
from latentloom.engine.graph.axes import RANGE_KEYS, read_axes
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.records import SETTINGS_FORM
from latentloom.engine.graph.validate import check
from latentloom.engine.node.registry import Registry

from .axes import parse_axis
from .changes import apply_changes, read_change
from .views import to_json


def edit_file(path: Path, options: argparse.Namespace, registry: Registry) -> int:
    """Write a file with the changes of the command line, and print them; return the exit code.

    Raises:
        FormatError: the file cannot hold a change.
        GraphError: a change is wrong; the file stays as it is.
        OSError: the file cannot be read or written.
    """
    if is_image_name(path):
        raise FormatError(f"{path.name}: expected a graph file, got an image")
    graph = load_graph(path, registry)
    if graph.document is not None and graph.document.form == SETTINGS_FORM:
        raise FormatError(f"{path.name}: expected a graph file, got settings of A1111; convert it")
    changed, _ = apply_changes(graph, registry, options.input, options.set)
    axes = {name: _axis_values(name, text, changed, registry) for name, text in options.over}
    if axes:
        over = {**changed.sweep.get("over", {}), **axes}
        changed = replace(changed, sweep={**changed.sweep, "over": over})
        read_axes(changed.sweep)
    files = Workspace(graph_dir=path.parent)
    before = set(check(graph, registry, files))
    problems = [item for item in check(changed, registry, files) if item not in before]
    if problems:
        raise GraphError(problems)
    text = path.read_text("utf-8-sig")
    edited = _edited(text, graph, changed, options, registry)
    written = parse_graph(edited, registry, path.parent)
    if written.bound().nodes != changed.bound().nodes or written.sweep != changed.sweep:
        raise FormatError(f"{path.name}: expected text that can be changed in place; edit it")
    save_text(edited, path)
    lines = [str(change) for change in diff(graph, written).changes]
    if options.json:
        print(to_json({"status": "done", "path": str(path), "changes": lines}))
    elif lines:
        print("\n".join(lines))
    return 0


def _axis_values(name: str, text: str, graph: Graph, registry: Registry) -> Any:
    """Return the values of an axis as a file holds them: a range as such, else a list."""
    axis = parse_axis(name, text, graph, registry)
    parts = text.split(":")
    if len(parts) in (2, 3) and not text.startswith("@"):
        return {
            key: read_change(graph, registry, name, part)[0]
            for key, part in zip(RANGE_KEYS, parts, strict=False)
        }
    return list(axis.values)


def _edited(
    text: str,
    graph: Graph,
    changed: Graph,
    options: argparse.Namespace,
    registry: Registry,
) -> str:
    if graph.document is not None:
        return dump_graph(changed, graph.document.form, registry)
    if text.lstrip()[:1] in ("{", "["):
        return dump_graph(changed, "json", registry)
    values = {name: changed.inputs[name].default for name, _ in options.input}
    for target, _ in options.set:
        id, name = changed.split(target)
        node, port = changed.ports_behind(id, name)[0]
        values[target] = changed.nodes[node].inputs[port]
    values |= {f"{SWEEP}{name}": thaw(changed.sweep["over"][name]) for name, _ in options.over}
    return edit_yaml(text, graph, values)
