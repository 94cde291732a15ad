"""`diff` and `merge`: what they print, also as drivers of git."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, load_graph, save_text
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.formats.diff_page import Side, diff_page
from latentloom.engine.formats.native_values import write_value
from latentloom.engine.formats.output_names import name_outputs
from latentloom.engine.graph.diff import ABSENT, Change, GraphDiff, diff
from latentloom.engine.graph.graph import Graph, GraphInput, Node
from latentloom.engine.graph.merge import Merge, merge
from latentloom.engine.node.registry import Registry

from .results import read_results
from .views import to_json

SAME, DIFFERENT = 0, 1
GIT_ARGUMENTS = 7


def print_diff(
    old: Path, new: Path, registry: Registry, as_json: bool, page: DiffPage | None = None
) -> int:
    """Print the differences of two graphs; return 0 if there are none, else 1.

    Args:
        page: writes them as HTML too.

    Raises:
        FormatError: a file is not a graph.
        OSError: a file cannot be read, or the page not written.
    """
    graphs = load_graph(old, registry), load_graph(new, registry)
    difference = _diff(*graphs, registry)
    changes = difference.changes
    if page is not None:
        page.write((old, new), graphs, difference)
    if as_json:
        status = "different" if changes else "same"
        print(
            to_json({"status": status, "changes": [change_to_object(change) for change in changes]})
        )
    elif changes:
        print("\n".join(map(str, changes)))
    return DIFFERENT if changes else SAME


@dataclass(frozen=True)
class DiffPage:
    """A page of HTML with the differences, and the engine that knows the results of both graphs."""

    path: Path
    engine: Engine
    workspaces: tuple[Workspace, Workspace]

    def write(
        self, paths: tuple[Path, Path], graphs: tuple[Graph, Graph], difference: GraphDiff
    ) -> None:
        """Write the page, with the images of both graphs that exist.

        Raises:
            OSError: the file cannot be written.
        """
        registry = self.engine.registry
        names = [path.name for path in paths]
        names = names if names[0] != names[1] else [str(path) for path in paths]
        old, new = (
            Side(
                name,
                name_outputs(graph, registry),
                read_results(path, graph, self.engine, workspace),
            )
            for name, path, graph, workspace in zip(
                names, paths, graphs, self.workspaces, strict=True
            )
        )
        save_text(diff_page(old, new, difference, registry), self.path)


def diff_as_git(arguments: Sequence[str], registry: Registry) -> int:
    """Print the differences of two versions of a file, called as git calls a diff driver.

    A file that is not a graph is compared line by line.

    Args:
        arguments: path, old file, its id and mode, new file, its id and mode.

    Raises:
        FormatError: there are other arguments.
    """
    if len(arguments) < GIT_ARGUMENTS:
        got = f"{len(arguments)} arguments"
        raise FormatError(f"diff --git: expected the {GIT_ARGUMENTS} arguments of git, got {got}")
    name, old, new = arguments[0], Path(arguments[1]), Path(arguments[4])
    print(f"graph {name}")
    try:
        graphs = _load_or_empty(old, registry), _load_or_empty(new, registry)
    except FormatError:
        lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{name}", f"b/{name}")
        print("".join(lines), end="")
        return SAME
    for change in _diff(graphs[0], graphs[1], registry).changes:
        print(f"  {change}")
    return SAME


def print_merge(
    paths: tuple[Path, Path, Path], output: str | None, registry: Registry, as_json: bool
) -> int:
    """Write the merged graph in the form of ours; return 1 if there are conflicts, else 0.

    A side whose graph is the result is written byte for byte, with its comments.

    Args:
        paths: base, ours and theirs.
        output: the file to write; by default the standard output.

    Raises:
        FormatError: a file is not a graph.
        OSError: a file cannot be read or written.
    """
    base, ours, theirs = (name_outputs(_load_or_empty(path, registry), registry) for path in paths)
    merged = merge(base, ours, theirs)
    text = _merged_text(merged, paths[1:], (ours, theirs), registry)
    if output is not None:
        Path(output).write_text(text, "utf-8", newline="")
    elif not as_json:
        print(text, end="")
    if as_json:
        conflicts = [{"subject": item.subject, "text": item.text} for item in merged.conflicts]
        held = {} if output is not None else {"graph": text}
        print(
            to_json(
                {"status": "conflict" if conflicts else "merged", "conflicts": conflicts, **held}
            )
        )
    else:
        for conflict in merged.conflicts:
            print(f"conflict: {conflict}", file=sys.stderr)
    return DIFFERENT if merged.conflicts else SAME


def _merged_text(
    merged: Merge, paths: tuple[Path, Path], sides: tuple[Graph, Graph], registry: Registry
) -> str:
    for path, side in zip(paths, sides, strict=True):
        if not merged.conflicts and not diff(merged.graph, side).changes:
            return path.read_text("utf-8")
    text = paths[0].read_text("utf-8") or paths[1].read_text("utf-8")
    document = sides[0].document
    is_json = text.lstrip()[:1] in ("{", "[")
    form = document.form if document is not None else "json" if is_json else "yaml"
    written = dump_graph(merged.graph, form, registry)
    if form != "yaml":
        return written
    notes = (f"# conflict: {line}\n" for c in merged.conflicts for line in str(c).splitlines())
    return "".join(notes) + written


def _diff(old: Graph, new: Graph, registry: Registry) -> GraphDiff:
    return diff(*comparable(old, new, registry))


def _load_or_empty(path: Path, registry: Registry) -> Graph:
    is_empty = str(path) == os.devnull or path.stat().st_size == 0
    return Graph() if is_empty else load_graph(path, registry)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", "replace").splitlines(keepends=True)


def change_to_object(change: Change) -> dict[str, Any]:
    """Return a difference of two graphs as an object."""
    return {
        "kind": change.kind,
        "node": change.node,
        "input": change.input,
        "old": _plain(change.old),
        "new": _plain(change.new),
        "text": str(change),
    }


def _plain(value: Any) -> Any:
    if value is ABSENT:
        return None
    if isinstance(value, Node):
        return value.type
    return write_value("", value.default if isinstance(value, GraphInput) else value)
