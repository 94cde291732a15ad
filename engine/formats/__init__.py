"""Graph files: native YAML and JSON, ComfyUI's API and editor JSON, and images that carry one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..errors import FormatError
from ..files.folder import open_folder
from ..files.image_formats import is_image_name
from ..graph.graph import Graph
from ..graph.migrations import migrated, with_versions
from .a1111_graph import parameters_graph
from .a1111_text import is_parameters, parse_parameters
from .comfy_editor import read_workflow
from .comfy_prompt import Specs, is_editor_workflow, is_prompt, read_prompt, write_prompt_json
from .comfy_workflow import write_workflow_json
from .image_metadata import embed, read_image_graph
from .losses import Loss, losses
from .native import read_native, write_json, write_yaml
from .output_names import name_outputs
from .parsing import MAX_BYTES, parse_text
from .readable import readable

__all__ = [
    "Conversion",
    "convert_graph",
    "dump_graph",
    "embed",
    "form_of",
    "load_graph",
    "losses",
    "name_outputs",
    "parse_graph",
    "readable",
    "save_graph",
    "save_text",
]


def load_graph(path: Path, specs: Specs | None = None) -> Graph:
    """Read a graph file of any format.

    Args:
        specs: the installed nodes; with them, former names of inputs become current ones, and
            inputs that a node does not have are set aside in files of ComfyUI.

    Raises:
        FormatError: the file does not hold a graph; the message says where and why.
        OSError: the file cannot be read.
    """
    if is_image_name(path):
        return replace(migrated(read_image_graph(path, specs), specs), source=path)
    if path.stat().st_size > MAX_BYTES:
        got = f"{path.stat().st_size} bytes"
        raise FormatError(f"{path.name}: expected at most {MAX_BYTES} bytes, got {got}")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected text in UTF-8: {error.reason}") from error
    try:
        return replace(parse_graph(text, specs, path.parent), source=path)
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def parse_graph(text: str, specs: Specs | None = None, folder: Path | None = None) -> Graph:
    """Parse a graph in YAML or JSON, in the native format or a ComfyUI format.

    Nodes under former names become those that replaced them, where a pack declares a migration.

    Args:
        folder: where files lie whose parts it may import; None if it may not.

    Raises:
        FormatError: the text does not describe a graph.
    """
    return migrated(_parse(text, specs, folder), specs)


def _parse(text: str, specs: Specs | None, folder: Path | None) -> Graph:
    _check_start(text)
    if text.lstrip()[:1] != "{" and is_parameters(text):
        return parameters_graph(parse_parameters(text), specs or {})
    data = parse_text(text)
    if isinstance(data, dict) and "latentloom" in data:
        return read_native(data, specs, folder)
    if isinstance(data, dict) and is_prompt(data.get("prompt")):
        data = data["prompt"]  # the body of a request to ComfyUI
    if is_prompt(data):
        return read_prompt(data, specs, clamp_seeds=True)
    if is_editor_workflow(data):
        return read_workflow(data, specs or {})
    expected = "`latentloom: 1` and `nodes:`, or a file that ComfyUI's editor saves or exports"
    raise FormatError(f"not a graph: expected {expected}")


# Kinds of files that downloads leave in place of a graph, by the start of the text in lower case.
_LFS = "got a Git LFS pointer; fetch the file with git lfs pull"
_PAGE = "got a web page; download the file itself, logged in if the site asks for it"
STAND_INS = {"version https://git-lfs": _LFS, "<!doctype html": _PAGE, "<html": _PAGE}


def _check_start(text: str) -> None:
    """Refuse the stand-in of a graph.

    Raises:
        FormatError: it is.
    """
    start = text[:100].lstrip().lower()
    for prefix, got in STAND_INS.items():
        if start.startswith(prefix):
            raise FormatError(f"expected a graph, {got}")


def dump_graph(graph: Graph, form: str, specs: Specs) -> str:
    """Return a graph as the text of a file.

    Args:
        form: "yaml" or "json" (native), "comfy" (ComfyUI's API JSON), or "editor" (the workflow
            file of its editor).

    Raises:
        FormatError: the form cannot hold a part of the graph.
    """
    graph = with_versions(graph, specs)
    if form == "comfy":
        return write_prompt_json(graph, specs)
    if form == "editor":
        return write_workflow_json(graph, specs)
    return write_json(graph) if form == "json" else write_yaml(graph)


class Conversion(NamedTuple):
    """The text of a graph in another form, and what of it the text does not hold."""

    text: str
    lost: list[Loss]


def convert_graph(graph: Graph, form: str, specs: Specs) -> Conversion:
    """Return a graph, just read, as the text of a file.

    In native files outputs have names, and nodes from files of ComfyUI get names.

    Args:
        form: as in `dump_graph`.

    Raises:
        FormatError: the form cannot hold a part of the graph.
    """
    graph = name_outputs(graph, specs)
    is_foreign = graph.document is not None and form in ("yaml", "json")
    written = readable(graph, specs) if is_foreign else graph
    return Conversion(dump_graph(written, form, specs), losses(graph, form))


def form_of(path: Path) -> str:
    """Return the form that the extension of a file stands for, as in `dump_graph`.

    Raises:
        FormatError: the extension is unknown.
    """
    name = path.name.lower()
    forms = {".yaml": "yaml", ".yml": "yaml", ".api.json": "comfy", ".editor.json": "editor"}
    form = next((forms[end] for end in forms if name.endswith(end)), "")
    if not form and not name.endswith(".json"):
        raise FormatError(
            f"{path.name}: expected extension .yaml, .json, .api.json or .editor.json"
        )
    return form or "json"


def save_graph(graph: Graph, path: Path, specs: Specs, form: str = "") -> None:
    """Write a graph to a file, replacing an existing one atomically.

    Args:
        form: as in `dump_graph`; by default the extension chooses it: `.api.json` and
            `.editor.json` are ComfyUI's.

    Raises:
        FormatError: the extension is unknown, or the form cannot hold the graph.
    """
    save_text(dump_graph(graph, form or form_of(path), specs), path)


def save_text(text: str, path: Path) -> None:
    """Write a string to a file, replacing an existing one atomically."""
    data = text.encode("utf-8")
    if path.exists() and not path.is_file():  # a pipe, or a terminal
        path.write_bytes(data)
        return
    with open_folder(path.parent) as folder, folder.temporary_file(data) as part:
        folder.replace(part, folder, path.name)
