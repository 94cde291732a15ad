"""`latentloom batch`: turns of images, as lines or as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from latentloom.engine.execution.batch import BatchItem, images_in, run_folder
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.cancel import CancelToken

from .progress import Reporter
from .views import error_objects, to_json

SAID = {"ran": "done", "known": "done before", "failed": "failed", "cancelled": "cancelled"}


def run_batch(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    place: tuple[Path, str],
    report: Reporter,
    cancel: CancelToken,
    as_json: bool,
) -> list[BatchItem]:
    """Run a graph over a folder, and show each turn as it ends.

    Args:
        place: the folder, and the graph's input that takes its images.
    """
    turns: list[BatchItem] = []
    total = len(images_in(place[0]))
    if not total:
        print(f"{place[0]}: there are no PNG, JPEG or WebP images in it", file=sys.stderr)
    for turn in run_folder(engine, graph, workspace, *place, report, cancel):
        turns.append(turn)
        if not as_json:
            line = f"{len(turns)} of {total}: {turn.image.name}: {SAID[turn.state]}"
            print(line, file=sys.stderr, flush=True)
            for error in turn.errors:
                print(error, file=sys.stderr)
            for path in turn.saved:
                print(path, flush=True)
    if as_json:
        print(to_json({"images": [_object(turn) for turn in turns], "of": total}))
    return turns


def _object(turn: BatchItem) -> dict[str, Any]:
    return {
        "image": str(turn.image),
        "state": turn.state,
        "outputs": [str(path) for path in turn.saved],
        "model_calls": turn.model_calls,
        "errors": [found for error in turn.errors for found in error_objects(error)],
    }
