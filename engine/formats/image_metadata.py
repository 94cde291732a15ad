"""Graphs in image files: this project's form first, then those of ComfyUI, then A1111's settings.

`image_texts` finds the texts that hold them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..graph.graph import Graph
from ..graph.migrations import with_versions
from .a1111_graph import parameters_graph
from .a1111_text import parse_parameters
from .comfy_editor import read_workflow
from .comfy_prompt import Specs, is_editor_workflow, is_prompt, read_prompt, write_prompt
from .image_texts import COMFY, EDITOR, EXPECTED, KEYS, OURS, SETTINGS, read_texts
from .native import read_native, to_native
from .parsing import parse_json


def embed(graph: Graph, specs: Specs) -> dict[str, str]:
    """Return the text chunks that let an image be run again, here and in ComfyUI.

    A form that cannot hold the graph is left out, such as ComfyUI's where a node is not installed.
    """
    graph = with_versions(graph, specs)
    writers: dict[str, Callable[[], dict[str, Any]]] = {
        OURS: lambda: to_native(graph),
        COMFY: lambda: write_prompt(graph, specs),
    }
    chunks = {}
    for key, write in writers.items():
        with suppress(FormatError):
            chunks[key] = json.dumps(write(), ensure_ascii=False)
    return chunks


def read_image_graph(path: Path, specs: Specs | None = None) -> Graph:
    """Return the graph in an image file.

    Raises:
        FormatError: the format holds no graphs, or the file none that can be read.
    """
    chunks = read_texts(path)
    try:
        if OURS in chunks:
            return read_native(_mapping(parse_json(chunks[OURS])), specs)
        if COMFY in chunks:
            return read_prompt(_prompt(chunks[COMFY]), specs, clamp_seeds=True)
        if EDITOR in chunks:
            return read_workflow(_workflow(chunks[EDITOR]), specs or {})
        if SETTINGS in chunks:
            return parameters_graph(parse_parameters(chunks[SETTINGS]), specs or {})
    except FormatError as error:
        key = next(key for key in KEYS if key in chunks)
        raise FormatError(f"{path.name}, its text {key!r}: {error}") from error
    raise FormatError(f"{path.name}: expected {EXPECTED}, got an image without a graph")


def _prompt(text: str) -> dict[str, Any]:
    data = _mapping(parse_json(text, numbers="any"))
    if not is_prompt(data):
        raise FormatError("expected a graph in ComfyUI's API JSON")
    return data


def _workflow(text: str) -> dict[str, Any]:
    data = _mapping(parse_json(text, numbers="any"))
    if not is_editor_workflow(data):
        raise FormatError("expected a workflow saved by ComfyUI's editor")
    return data


def _mapping(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise FormatError("expected a graph")
    return data
