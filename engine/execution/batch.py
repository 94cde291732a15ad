"""Run one graph over every image of a folder; an interrupted batch resumes.

The progress file lies in the output folder. It has one line for each finished image, with a key
made of the graph, its values and the content of the image. An image whose key is in the file is
skipped; a changed graph or image has another key, and runs again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import GraphError, Problem
from ..files.image_formats import is_image_name
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from ..node.registry import Registry
from .events import OnEvent
from .executor import Engine
from .item import Item
from .items import ItemOutcome, ItemRunner

PROGRESS_FILE = ".latentloom-batch.jsonl"
NAME_INPUT = "name"
IMAGE_KIND = "input"


@dataclass(frozen=True, kw_only=True)
class BatchItem(ItemOutcome):
    """The outcome of one image."""

    image: Path


@dataclass(frozen=True)
class BatchSource:
    """The images of a batch.

    Attributes:
        folder: it holds them; they are never modified.
        image_input: the graph input that receives the image, or `node.input` of a loading node.
            May be left out if the graph has one input of type image only, or no such input and
            one loading node only.
        is_recursive: take the images of its subfolders too, but not those behind links.
    """

    folder: Path
    image_input: str = ""
    is_recursive: bool = False


@dataclass(frozen=True)
class FolderContent:
    """The images of a folder, by path, and the names of what a batch passes over.

    Attributes:
        others: other files, and subfolders with a slash, all named from the folder.
    """

    images: tuple[Path, ...]
    others: tuple[str, ...]


def list_folder(source: BatchSource, output_dir: Path | None = None) -> FolderContent:
    """Return the content of a folder, without hidden files and folders.

    Args:
        output_dir: passed over as a subfolder, since it holds results.

    Raises:
        OSError: the folder cannot be read.
    """
    output, images, others = output_dir and output_dir.resolve(), list[Path](), list[str]()
    folders = [source.folder]
    while folders:
        for path in folders.pop().iterdir():
            name = path.relative_to(source.folder).as_posix()
            if path.name.startswith("."):
                continue
            if not path.is_dir():
                if is_image_name(path) and path.is_file():
                    images.append(path)
                else:
                    others.append(name)
            elif source.is_recursive and not path.is_symlink() and path.resolve() != output:
                folders.append(path)
            else:
                others.append(f"{name}/")
    return FolderContent(tuple(sorted(images)), tuple(sorted(others)))


def run_folder(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    source: BatchSource,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[BatchItem]:
    """Run a graph once for each image of a folder, and yield the outcome of each.

    A failed image does not stop the batch. BatchSource images are never modified: outputs go to the
    workspace's output folder, which must be another one. A graph input `name` of type string
    receives the path of the image from the folder, without its extension.

    Args:
        cancel: stops the current image, and skips the rest.

    Raises:
        GraphError: the graph has no such input, or the output folder is the image folder.
        OSError: the folder cannot be read, or the progress file cannot be written.
    """
    image_input = _choose_input(graph, engine.registry, source.image_input)
    token, folder = cancel or CancelToken(), source.folder
    if workspace.output_dir.resolve() == folder.resolve():
        problem = Problem(
            kind="bad_output",
            expected="an output folder other than the images' folder",
            got=str(folder),
            hint="choose another one",
        )
        raise GraphError([problem])
    runner = ItemRunner(engine, workspace.output_dir / PROGRESS_FILE)
    try:
        for index, image in enumerate(list_folder(source, workspace.output_dir).images):
            if token.is_set():
                return
            name = image.relative_to(folder)
            item = _make_item(_fill(graph, image_input, image, name), workspace, image, name, index)
            yield BatchItem(**vars(runner.run(item, on_event, token)), image=image)
    finally:
        runner.close()


def _fill(graph: Graph, image_input: str, image: Path, name: Path) -> Graph:
    """Return the graph with an image, and with its name where the graph takes that."""
    set_input = graph.set_input if image_input in graph.inputs else graph.set
    graph = set_input(image_input, str(image.absolute()))
    if graph.inputs.get(NAME_INPUT) and graph.inputs[NAME_INPUT].type == "string":
        graph = graph.set_input(NAME_INPUT, name.with_suffix("").as_posix())
    return graph


def _make_item(graph: Graph, workspace: Workspace, image: Path, name: Path, index: int) -> Item:
    """Return the item of an image; only the next image may share what depends on it."""
    return Item(
        index=index,
        name=name.as_posix(),
        graph=graph,
        workspace=replace(workspace, granted=workspace.granted | {image.absolute()}),
        last_use=lambda _id: index,
    )


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
