"""`latentloom batch`: the outcome of each image, as lines or as JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from latentloom.engine.execution.batch import BatchItem, BatchSource, list_folder, run_folder
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.items import ItemOutcome
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


# Names in a line of the summary, and failed items in it; more are counted.
MAX_NAMES = 20
MAX_FAILURES = 100


def run_batch(
    graph: Graph,
    workspace: Workspace,
    source: BatchSource,
    engine: Engine,
    report: Reporter,
    cancel: CancelToken,
    as_json: bool,
) -> list[BatchItem]:
    """Run a graph over a folder, print each image's outcome as it ends, and a summary."""
    items: list[BatchItem] = []
    content = list_folder(source, workspace.output_dir)
    total = len(content.images)
    if not total:
        print(f"{source.folder}: found no {list_names()} images", file=sys.stderr)
    for item in run_folder(engine, graph, workspace, source, report, cancel):
        items.append(item.without_values())
        if not as_json:
            line = f"{len(items)} of {total}: {_name(item, source)}: {STATE_TEXT[item.state]}"
            print(line, file=sys.stderr, flush=True)
            for error in item.errors:
                print(error, file=sys.stderr)
            for path in item.saved:
                print(path, flush=True)
    if as_json:
        images = [_object(item) for item in items]
        print(to_json({"images": images, "of": total, "passed_over": content.others}))
    outcomes = [(_name(item, source), item) for item in items]
    for line in (*summarize(outcomes, total), *_passed_over(content.others, source)):
        print(line, file=sys.stderr)
    return items


def summarize(outcomes: Sequence[tuple[str, ItemOutcome]], total: int) -> Iterator[str]:
    """Yield how many named items had which outcome, and why each failed one failed."""
    counts: Counter[str] = Counter(outcome.state for _, outcome in outcomes)
    texts = [f"{counts[state]} {text}" for state, text in STATE_TEXT.items() if counts[state]]
    if len(outcomes) < total:
        texts.append(f"{total - len(outcomes)} left out")
    if texts:
        yield f"{total} in all: {', '.join(texts)}"
    failed = [(name, outcome) for name, outcome in outcomes if outcome.state == "failed"]
    for name, outcome in failed[:MAX_FAILURES]:
        reasons = [str(error).partition("\n")[0] for error in outcome.errors]
        yield f"failed: {name}: {'; '.join(reasons)}"
    if len(failed) > MAX_FAILURES:
        yield f"failed: {len(failed) - MAX_FAILURES} more"


def _passed_over(names: Sequence[str], source: BatchSource) -> Iterator[str]:
    """Yield the lines about what was not run: other files, and subfolders."""
    folders = [name for name in names if name.endswith("/")]
    files = [name for name in names if not name.endswith("/")]
    if files:
        yield f"not images, passed over: {_shorten(files)}"
    if folders:
        hint = "" if source.is_recursive else "; --recursive takes their images too"
        yield f"subfolders, passed over: {_shorten(folders)}{hint}"


def _shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _name(item: BatchItem, source: BatchSource) -> str:
    return item.image.relative_to(source.folder).as_posix()


def _object(item: BatchItem) -> dict[str, Any]:
    return {
        "image": str(item.image),
        "state": item.state,
        "outputs": [str(path) for path in item.saved],
        "model_calls": item.model_calls,
        "errors": [entry for error in item.errors for entry in error_to_objects(error)],
    }
