"""Opens what a command works on: a graph with the changes of the command line, and its folders."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentloom.engine.graph.library import find_file, graphs_dir

if TYPE_CHECKING:
    from latentloom.engine.execution.executor import Engine
    from latentloom.engine.files.workspace import Workspace
    from latentloom.engine.graph.graph import Graph
    from latentloom.engine.node.registry import Registry


@dataclass(frozen=True)
class Invocation:
    """A graph with the changes of the command line, its file, and its folders."""

    graph: Graph
    workspace: Workspace
    registry: Registry
    path: Path


def open_graph(options: argparse.Namespace, registry: Registry) -> Invocation:
    """Open the graph with the changes of the command line.

    Raises:
        FormatError: the file is not a graph, or a change cannot be read.
        GraphError: a change names what the graph does not have.
        OSError: the file cannot be read.
    """
    from latentloom.engine.formats import load_graph

    from .changes import apply_changes

    path = find_file(options.file)
    graph = load_graph(path, registry)
    graph, granted = apply_changes(graph, registry, options.input, options.set)
    return Invocation(graph, open_workspace(options, path, granted), registry, path)


def open_workspace(
    options: argparse.Namespace, path: Path, granted: frozenset[Path] = frozenset()
) -> Workspace:
    """Return the folders of a run of the graph in a file.

    Args:
        granted: files that the command line names.
    """
    from latentloom.engine.files.workspace import Workspace

    return Workspace(
        graph_dir=path.parent,
        input_dir=Path(options.input_dir),
        output_dir=Path(options.output),
        library_dir=graphs_dir(),
        granted=granted,
        embeds_graph=not getattr(options, "no_metadata", False),
        writes_manifests=getattr(options, "manifest", False),
    )


def open_engine(registry: Registry) -> Engine:
    """Return an engine with the disk cache that the environment sets."""
    from latentloom.engine.cache.generation import open_store
    from latentloom.engine.execution.executor import Engine

    return Engine(registry, store=open_store(registry))
