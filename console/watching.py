"""`latentloom run --watch`: runs again when a file is saved; a page shows the newest images."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import LatentloomError
from latentloom.engine.execution.executor import Engine, Result
from latentloom.engine.files.image_formats import format_of_file
from latentloom.engine.formats import save_text
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.library import find_file
from latentloom.engine.graph.sound import run_sound
from latentloom.engine.graph.validate import prepare
from latentloom.engine.node.cancel import CancelToken
from latentloom.engine.node.registry import Registry

from .interrupts import interrupts
from .locking import require_lock
from .opening import Invocation, open_engine, open_graph
from .progress import reporter
from .views import failure_to_object, format_error, result_to_object, to_json

PAGE, STATE = "watch.html", "watch.js"
POLL_S = 0.3
MAX_WATCHED_FILES = 500
GRAPH_EXTENSIONS = (".yaml", ".yml", ".json")
Stamps = dict[Path, tuple[int, int] | None]
HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>latentloom run --watch</title><style>
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;background:#fff;color:#1f2933}
main{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}img{max-width:100%;display:block}
figcaption{color:#68737f}pre{white-space:pre-wrap;color:#b00020}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}pre{color:#ff8a80}}
</style></head><body><h1 id="title"></h1><p id="summary">waiting for the first run</p>
<pre id="errors"></pre><main id="images"></main><script>
let last = '';
function show(state) {
  const text = JSON.stringify(state);
  if (text === last) return;
  last = text;
  document.getElementById('title').textContent = state.title;
  document.getElementById('summary').textContent = state.summary;
  document.getElementById('errors').textContent = state.errors.join('\\n\\n');
  const figures = state.images.map(name => {
    const figure = document.createElement('figure'), image = document.createElement('img');
    const caption = document.createElement('figcaption');
    image.src = name.split('/').map(encodeURIComponent).join('/') + '?' + state.run;
    image.alt = caption.textContent = name;
    figure.append(image, caption);
    return figure;
  });
  if (figures.length || !state.errors.length)
    document.getElementById('images').replaceChildren(...figures);
}
function poll() {
  const script = document.createElement('script');
  script.src = 'watch.js?' + Date.now();
  script.onload = script.onerror = () => { script.remove(); setTimeout(poll, 500); };
  document.head.append(script);
}
poll();
</script></body></html>
"""


def watch_graph(options: argparse.Namespace, registry: Registry) -> int:
    """Run a graph, and again whenever it or its input files are saved, until Ctrl-C.

    Raises:
        OSError: the page cannot be written.
    """
    token = CancelToken()
    with open_engine(registry) as engine, interrupts(token):
        return watch(options, engine, token, lambda: time.sleep(POLL_S))


def watch(
    options: argparse.Namespace, engine: Engine, token: CancelToken, wait: Callable[[], None]
) -> int:
    """Run and watch until the token is set.

    Args:
        wait: called between two looks at the files.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    save_text(HTML, folder / PAGE)
    print(f"preview: {(folder / PAGE).absolute().as_uri()}", file=sys.stderr, flush=True)
    seen: Stamps | None = None
    number, inputs = 0, list[Path]()
    while not token.is_set():
        stamps = read_stamps([*_graph_files(find_file(options.file)), *inputs])
        if stamps == seen or None in stamps.values():
            wait()
            continue
        number += 1
        inputs = _run_once(options, engine, token, number)
        # Files that were saved during the run have other stamps at the next look.
        seen = stamps | read_stamps(path for path in inputs if path not in stamps)
    return 0


def read_stamps(paths: Iterable[Path]) -> Stamps:
    """Return time of change and size of files; None for one that is not there, as while saving."""
    stamps: Stamps = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            stamps[path] = None
        else:
            stamps[path] = (status.st_mtime_ns, status.st_size)
    return stamps


def _graph_files(path: Path) -> list[Path]:
    """Return the graph and the files beside it that it may import parts from."""
    neighbours = sorted(
        other
        for other in path.parent.iterdir()
        if other.suffix in GRAPH_EXTENSIONS and other.is_file() and other != path
    )
    return [path, *neighbours[:MAX_WATCHED_FILES]]


def _run_once(
    options: argparse.Namespace, engine: Engine, token: CancelToken, number: int
) -> list[Path]:
    """Run the graph as its file is now, show the outcome, and return its input files."""
    folder = Path(options.output)
    try:
        job = open_graph(options, engine.registry)
        require_lock(options, job)
        result, problems = _run(options, job, engine, token)
    except (LatentloomError, OSError) as error:
        message = format_error(error)
        print(to_json(failure_to_object(error)) if options.json else message, file=sys.stderr)
        _write_state(folder, number, Path(options.file).name, "not run", [message], ())
        return []
    errors = [str(error) for error in (*problems, *result.errors)]
    paths = dict.fromkeys(path for _, path in result.saved)
    if options.json:
        print(to_json(result_to_object(result, problems)), flush=True)
    else:
        for text in errors:
            print(text, file=sys.stderr)
        for path in paths:
            print(path, flush=True)
    images = [
        Path(os.path.relpath(path, folder)).as_posix()
        for path in paths
        if (format := format_of_file(path)) is not None and format.is_shown_by_browsers
    ]
    title = job.graph.title or job.path.name
    _write_state(folder, number, title, _summary(result, number), errors, images)
    nodes = prepare(job.graph, engine.registry, job.workspace).nodes.values()
    return [
        file.path
        for node in nodes
        for file in node.files.values()
        if file.path.is_file() and file.digest is None
    ]


def _run(
    options: argparse.Namespace, job: Invocation, engine: Engine, token: CancelToken
) -> tuple[Result, Sequence[Any]]:
    with reporter(options.json, job.graph) as report:

        def start(graph: Graph, targets: Sequence[str] | None) -> Result:
            return engine.run(graph, job.workspace, targets, on_event=report, cancel=token)

        return run_sound(job.graph, job.registry, job.workspace, options.target, start)


def _summary(result: Result, number: int) -> str:
    counts = {"ran": 0, "reused": 0, "skipped": 0, "failed": 0}
    for report in result.nodes.values():
        counts[report.state] += 1
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"run {number}: {result.status} in {result.seconds:.2f} s; nodes: {listed}"


def _write_state(
    folder: Path,
    number: int,
    title: str,
    summary: str,
    errors: Sequence[str],
    images: Sequence[str],
) -> None:
    state = {
        "run": number, "title": title, "summary": summary, "errors": list(errors),
        "images": list(images),
    }  # fmt: skip
    save_text(f"show({json.dumps(state)});\n", folder / STATE)
