"""Run one graph over every image of a folder; an interrupted batch resumes.

The progress file lies in the output folder. It has one line for each finished image, with a key
made of the graph, its values and the content of the image. An image whose key is in the file is
skipped; a changed graph or image has another key, and runs again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..cache.release import release_memory
from ..errors import GraphError, Problem
from ..files.image_formats import is_image_name
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from ..node.registry import Registry
from .events import OnEvent
from .executor import Engine
from .progress_file import ItemOutcome, ProgressFile

PROGRESS_FILE = ".latentloom-batch.jsonl"
NAME_INPUT = "name"
IMAGE_KIND = "input"


@dataclass(frozen=True, kw_only=True)
class BatchItem(ItemOutcome):
    """The outcome of one image."""

    image: Path


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, by name, without hidden ones and subfolders.

    Raises:
        OSError: the folder cannot be read.
    """
    paths = (path for path in folder.iterdir() if is_image_name(path))
    return sorted(path for path in paths if path.is_file() and not path.name.startswith("."))


def other_names_in(folder: Path) -> list[str]:
    """Return the names of what a batch passes over: other files, and subfolders with a slash.

    Raises:
        OSError: the folder cannot be read.
    """
    images = {path.name for path in images_in(folder)}
    return sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in folder.iterdir()
        if path.name not in images and not path.name.startswith(".")
    )


def run_folder(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    folder: Path,
    image_input: str = "",
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[BatchItem]:
    """Run a graph once for each image of a folder, and yield the outcome of each.

    A failed image does not stop the batch. Source images are never modified: outputs go to the
    workspace's output folder, which must be another one. A graph input `name` of type string
    receives the name of the image without its extension.

    Args:
        image_input: the graph input that receives the image, or `node.input` of a loading node.
            May be left out if the graph has one input of type image only, or no such input and
            one loading node only.
        cancel: stops the current image, and skips the rest.

    Raises:
        GraphError: the graph has no such input, or the output folder is the image folder.
        OSError: the folder cannot be read, or the progress file cannot be written.
    """
    image_input = _choose_input(graph, engine.registry, image_input)
    token = cancel or CancelToken()
    if workspace.output_dir.resolve() == folder.resolve():
        problem = Problem(
            kind="bad_output",
            expected="an output folder other than the images' folder",
            got=str(folder),
            hint="choose another one",
        )
        raise GraphError([problem])
    progress = ProgressFile(workspace.output_dir / PROGRESS_FILE)
    for image in images_in(folder):
        if token.is_set():
            return
        set_input = graph.set_input if image_input in graph.inputs else graph.set
        image_graph = set_input(image_input, str(image.absolute()))
        if graph.inputs.get(NAME_INPUT) and graph.inputs[NAME_INPUT].type == "string":
            image_graph = image_graph.set_input(NAME_INPUT, image.stem)
        granted = replace(workspace, granted=workspace.granted | {image.absolute()})
        outcome = progress.run(engine, image_graph, granted, image.name, on_event, token)
        yield BatchItem(**vars(outcome), image=image)
    release_memory()


def _choose_input(graph: Graph, registry: Registry, name: str) -> str:
    """Return the graph input, or the `node.input`, that receives the images."""
    graph_inputs = [key for key, given in graph.inputs.items() if given.type == "image"]
    node_inputs = [
        f"{id}.{port.name}"
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None
        for port in spec.fitted(node.inputs).inputs
        if port.file is not None
        and port.file.kind == IMAGE_KIND
        and isinstance(node.inputs.get(port.name), str)
    ]
    candidates = graph_inputs or node_inputs
    if not name and len(candidates) == 1:
        return candidates[0]
    if name in graph_inputs or name in node_inputs:
        return name
    known = ", ".join(graph_inputs + node_inputs)
    problem = Problem(
        kind="unknown_input",
        node="inputs",
        type="graph",
        port=name,
        expected=f"an input that takes an image: {known or 'there is none'}",
        got=name or "none chosen",
        hint="choose one with --image-input" if known else "add a LoadImage",
    )
    raise GraphError([problem])
