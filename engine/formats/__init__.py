"""Graph files: native YAML and JSON, ComfyUI's API and editor JSON, and images that carry one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..files.folder import open_folder
from ..files.image_formats import is_image_name
from ..graph.graph import Graph, Link
from .comfy_editor import read_workflow
from .comfy_prompt import Specs, is_editor_workflow, is_prompt, read_prompt, write_prompt_json
from .image_metadata import embed, read_image_graph
from .native import read_native, write_json, write_yaml
from .parsing import MAX_BYTES, parse_json, parse_yaml

__all__ = ["dump_graph", "embed", "load_graph", "name_outputs", "parse_graph", "save_graph"]


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
        return replace(read_image_graph(path, specs), source=path)
    if path.stat().st_size > MAX_BYTES:
        got = f"{path.stat().st_size} bytes"
        raise FormatError(f"{path.name}: expected at most {MAX_BYTES} bytes, got {got}")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected text in UTF-8: {error.reason}") from error
    try:
        return replace(parse_graph(text, specs), source=path)
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def parse_graph(text: str, specs: Specs | None = None) -> Graph:
    """Parse a graph in YAML or JSON, in the native format or a ComfyUI format.

    Raises:
        FormatError: the text does not describe a graph.
    """
    is_json = text.lstrip()[:1] in ("{", "[")
    data = parse_json(text, numbers="file") if is_json else parse_yaml(text)
    if isinstance(data, dict) and "latentloom" in data:
        return read_native(data, specs)
    if isinstance(data, dict) and is_prompt(data.get("prompt")):
        data = data["prompt"]  # the body of a request to ComfyUI
    if is_prompt(data):
        return read_prompt(data, specs, clamp_seeds=True)
    if is_editor_workflow(data):
        return read_workflow(data, specs or {})
    expected = "`latentloom: 1` and `nodes:`, or a file that ComfyUI's editor saves or exports"
    raise FormatError(f"not a graph: expected {expected}")


def dump_graph(graph: Graph, form: str, specs: Specs) -> str:
    """Return a graph as the text of a file.

    Args:
        form: "yaml" or "json" (native), or "comfy" (ComfyUI's API JSON).

    Raises:
        FormatError: the form cannot hold a part of the graph.
    """
    if form == "comfy":
        return write_prompt_json(graph, specs)
    return write_json(graph) if form == "json" else write_yaml(graph)


def name_outputs(graph: Graph, specs: Specs) -> Graph:
    """Return the graph with outputs by name, not by ComfyUI's index: `$4.VAE` for `$4.2`."""

    def name_output(value: Any) -> Any:
        if not isinstance(value, Link) or not isinstance(value.output, int):
            return value
        spec = specs.get(graph.nodes[value.node].type) if value.node in graph.nodes else None
        outputs = spec.outputs if spec is not None else ()
        if spec is None or not 0 <= value.output < len(outputs):
            return value
        name = outputs[value.output].name
        is_unique = name.isidentifier() and spec.output_index(name) == value.output
        return Link(value.node, name) if is_unique else value

    nodes = {
        id: replace(node, inputs={name: name_output(value) for name, value in node.inputs.items()})
        for id, node in graph.nodes.items()
    }
    return replace(graph, nodes=nodes)


def save_graph(graph: Graph, path: Path, specs: Specs, form: str = "") -> None:
    """Write a graph to a file, replacing an existing one atomically.

    Args:
        form: as in `dump_graph`; by default the extension chooses it (`.api.json` is ComfyUI's).

    Raises:
        FormatError: the extension is unknown, or the form cannot hold the graph.
    """
    name = path.name.lower()
    if not form:
        if name.endswith((".yaml", ".yml")):
            form = "yaml"
        elif name.endswith(".json"):
            form = "comfy" if name.endswith(".api.json") else "json"
        else:
            raise FormatError(f"{path.name}: expected extension .yaml, .json or .api.json")
    data = dump_graph(graph, form, specs).encode("utf-8")
    if path.exists() and not path.is_file():  # a pipe, or a terminal
        path.write_bytes(data)
        return
    with open_folder(path.parent) as folder, folder.temporary_file(data) as part:
        folder.replace(part, folder, path.name)
