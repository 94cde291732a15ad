"""Images that a graph gave: the compared file itself, or those that its runs saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latentloom.engine.errors import LatentloomError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import load_graph
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.formats.diff_page import ResultImage
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.image_service import image_service

MAX_IMAGES, MAX_BYTES = 16, 64 << 20
MAX_SEARCHED_IMAGES, MAX_SEARCHED_NODES = 200, 50_000


def read_results(path: Path, graph: Graph, engine: Engine, files: Workspace) -> list[ResultImage]:
    """Return the images of a graph that exist; nothing runs to make them.

    Args:
        path: of the graph; if it is an image, that is the only result.
    """
    if is_image_name(path):
        names = [path]
    else:
        names = list(_cached(graph, engine, files)) or list(_saved(graph, engine, files))
    service, results, total = image_service(engine.registry), [], 0
    for name in names[:MAX_IMAGES]:
        try:
            size = name.stat().st_size
            total += size
            shown = service.make_viewable(name.read_bytes()) if total <= MAX_BYTES else None
        except (OSError, LatentloomError):
            continue
        if shown is not None:
            results.append(ResultImage(shown.data, shown.mime))
    return results


def _cached(graph: Graph, engine: Engine, files: Workspace) -> Iterator[Path]:
    """Yield the files that earlier runs of this graph saved, where the cache knows them."""
    try:
        steps = engine.plan(graph, files).nodes
        known = [
            id
            for id, step in steps.items()
            if step.action == "reuse" and engine.registry[step.type].output_node
        ]
        if not known:
            return
        for _, path in engine.run(graph, files, known).saved:
            yield path
    except LatentloomError:
        return


def _saved(graph: Graph, engine: Engine, files: Workspace) -> Iterator[Path]:
    """Yield the images in the output folder that carry the same graph, in order of their names."""
    paths = [path for path in files.output_dir.rglob("*") if is_image_name(path) and path.is_file()]
    newest = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    limit = max(1, min(MAX_SEARCHED_IMAGES, MAX_SEARCHED_NODES // max(1, len(graph.nodes))))
    for path in sorted(newest[:limit]):
        try:
            other = load_graph(path, engine.registry)
        except (OSError, LatentloomError):
            continue
        if not diff(*comparable(graph.bound(), other.bound(), engine.registry)).changes:
            yield path
