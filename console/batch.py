"""`latentloom batch`: the outcome of each image, as lines or as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from latentloom.engine.execution.batch import BatchItem, images_in, other_names_in, run_folder
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.image_formats import list_names
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.cancel import CancelToken

from .progress import Reporter
from .views import error_to_objects, to_json

STATE_TEXT = {
    "ran": "done",
    "skipped": "already done",
    "failed": "failed",
    "cancelled": "cancelled",
}


def run_batch(
    graph: Graph,
    workspace: Workspace,
    source: tuple[Path, str],
    engine: Engine,
    report: Reporter,
    cancel: CancelToken,
    as_json: bool,
) -> list[BatchItem]:
    """Run a graph over a folder, and print each image's outcome as it ends.

    Args:
        source: the folder, and the graph input that receives its images.
    """
    items: list[BatchItem] = []
    total = len(images_in(source[0]))
    if not total:
        print(f"{source[0]}: found no {list_names()} images", file=sys.stderr)
    passed_over = other_names_in(source[0])
    if passed_over:
        print(f"not images, passed over: {', '.join(passed_over)}", file=sys.stderr)
    for item in run_folder(engine, graph, workspace, *source, report, cancel):
        items.append(item)
        if not as_json:
            line = f"{len(items)} of {total}: {item.image.name}: {STATE_TEXT[item.state]}"
            print(line, file=sys.stderr, flush=True)
            for error in item.errors:
                print(error, file=sys.stderr)
            for path in item.saved:
                print(path, flush=True)
    if as_json:
        images = [_object(item) for item in items]
        print(to_json({"images": images, "of": total, "passed_over": passed_over}))
    failed = [item.image.name for item in items if item.state == "failed"]
    if failed:
        print(f"{len(failed)} of {total} failed: {', '.join(failed)}", file=sys.stderr)
    return items


def _object(item: BatchItem) -> dict[str, Any]:
    return {
        "image": str(item.image),
        "state": item.state,
        "outputs": [str(path) for path in item.saved],
        "model_calls": item.model_calls,
        "errors": [entry for error in item.errors for entry in error_to_objects(error)],
    }
