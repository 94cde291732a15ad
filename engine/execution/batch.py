"""One graph over every image of a folder. What is done is written down, and not done again.

The ledger lies in the output folder: one line for each image that is done, with the key of the
whole graph on it. A key is made of the graph, its values and the image's content, so that a run
that was stopped goes on where it was, and a changed graph or image is run anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import GraphError, LatentloomError, Problem
from ..files.image_formats import is_image_name
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from ..node.registry import Registry
from .events import OnEvent
from .executor import Engine
from .plan import Plan

LEDGER = ".latentloom-batch.jsonl"
NAME_INPUT = "name"
IMAGE = "input"


@dataclass(frozen=True)
class BatchItem:
    """What became of one image.

    Attributes:
        state: "known" is what an earlier run did already.
        saved: the files that are there for it.
        errors: why it failed.
    """

    image: Path
    state: Literal["ran", "known", "failed", "cancelled"]
    saved: tuple[Path, ...] = ()
    errors: tuple[LatentloomError, ...] = ()
    model_calls: int = 0


def images_in(folder: Path) -> list[Path]:
    """Return the image files right in a folder, by name; hidden ones are left out.

    Raises:
        OSError: it is no folder that can be read.
    """
    found = (path for path in folder.iterdir() if is_image_name(path))
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def run_folder(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    folder: Path,
    image_input: str = "",
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[BatchItem]:
    """Run a graph once for each image of a folder, and yield what became of each.

    An image that fails is passed over. Images are only read; outputs go to the workspace's
    output folder, which must be another one.

    Args:
        image_input: the graph's input that takes the image, or `node.input` of a loading node;
            may be left out where the graph has but one input of type image, or none and but one
            such node. An input `name` of type string takes the image's name without ending.
        cancel: stops the image in work, and all after it.

    Raises:
        GraphError: the graph has no such input, or the output folder is the folder itself.
        OSError: the folder cannot be read, or the ledger not be written.
    """
    image_input, token = _chosen(graph, engine.registry, image_input), cancel or CancelToken()
    if workspace.output_dir.resolve() == folder.resolve():
        problem = Problem(
            kind="bad_output",
            expected="an output folder other than the images' folder",
            got=str(folder),
            hint="choose another one",
        )
        raise GraphError([problem])
    ledger = _Ledger(workspace.output_dir)
    for image in images_in(folder):
        if token.is_set():
            return
        change = graph.set_input if image_input in graph.inputs else graph.set
        one = change(image_input, str(image.absolute()))
        if graph.inputs.get(NAME_INPUT) and graph.inputs[NAME_INPUT].type == "string":
            one = one.set_input(NAME_INPUT, image.stem)
        place = replace(workspace, granted=workspace.granted | {image.absolute()})
        yield _turn(engine, one, place, image, ledger, on_event, token)


def _turn(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    image: Path,
    ledger: _Ledger,
    on_event: OnEvent | None,
    token: CancelToken,
) -> BatchItem:
    try:
        key = _key(engine.plan(graph, workspace))
        known = ledger.saved(key)
        if known is not None:
            return BatchItem(image, "known", known)
        result = engine.run(graph, workspace, on_event=on_event, cancel=token)
    except GraphError as error:
        return BatchItem(image, "failed", errors=(error,))
    saved = tuple(dict.fromkeys(path for _, path in result.saved))
    if result.status == "cancelled":
        return BatchItem(image, "cancelled", saved, model_calls=result.model_calls)
    if result.errors:
        return BatchItem(image, "failed", saved, tuple(result.errors), result.model_calls)
    ledger.add(key, image.name, saved)
    return BatchItem(image, "ran", saved, model_calls=result.model_calls)


def _chosen(graph: Graph, registry: Registry, name: str) -> str:
    """The graph's input, or the `node.input`, that takes the images."""
    images = [image_input for image_input, given in graph.inputs.items() if given.type == "image"]
    places = [
        f"{id}.{port.name}"
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None
        for port in spec.inputs
        if port.file is not None
        and port.file.kind == IMAGE
        and isinstance(node.inputs.get(port.name), str)
    ]
    open_to = images or places
    if not name and len(open_to) == 1:
        return open_to[0]
    if name in images or name in places:
        return name
    known = ", ".join(images + places)
    expected = f"an input that takes an image: {known or 'there is none'}"
    hint = "say with --image-input which takes the images" if known else "add a LoadImage"
    problem = Problem(
        kind="unknown_input",
        node="inputs",
        type="graph",
        port=name,
        expected=expected,
        got=name or "none chosen",
        hint=hint,
    )
    raise GraphError([problem])


def _key(plan: Plan) -> str:
    keys = "\n".join(f"{id} {step.key}" for id, step in sorted(plan.nodes.items()))
    return hashlib.sha256(keys.encode()).hexdigest()


class _Ledger:
    """What is done, in a file to which lines are added."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LEDGER
        self._done: dict[str, tuple[Path, ...]] = {}
        text = self.path.read_text("utf-8", "replace") if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                saved = tuple(folder / str(name) for name in entry["saved"])
                self._done[str(entry["key"])] = saved
            except (ValueError, LookupError, TypeError, RecursionError):
                continue  # a line that a crash cut short: its image is run again

    def saved(self, key: str) -> tuple[Path, ...] | None:
        """The files of what is done and all there still; None otherwise."""
        found = self._done.get(key)
        return found if found is not None and all(path.is_file() for path in found) else None

    def add(self, key: str, image: str, saved: tuple[Path, ...]) -> None:
        """Write down that an image is done; on disk when this returns."""
        names = [os.path.relpath(path, self.folder) for path in saved]
        line = json.dumps({"key": key, "image": image, "saved": names}, ensure_ascii=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as sink:
            sink.write(f"\n{line}\n" if _torn(self.path) else f"{line}\n")
            sink.flush()
            os.fsync(sink.fileno())
        self._done[key] = saved


def _torn(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
