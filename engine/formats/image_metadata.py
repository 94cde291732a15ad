"""Graphs in image files, as text chunks: this project's form first, then those of ComfyUI."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..files.image_formats import IMAGE_FORMATS
from ..graph.graph import Graph
from .comfy_editor import read_workflow
from .comfy_prompt import Specs, is_editor_workflow, is_prompt, read_prompt, write_prompt
from .native import read_native, to_native
from .parsing import parse_json

OURS, COMFY, EDITOR = "latentloom", "prompt", "workflow"
CARRIERS = tuple(image.name for image in IMAGE_FORMATS if image.may_carry_graph)
EXPECTED = f"a {' or '.join(CARRIERS)} saved by latentloom or ComfyUI"


def embed(graph: Graph, specs: Specs) -> dict[str, str]:
    """Return the text chunks that let an image be run again, here and in ComfyUI.

    A form that cannot hold the graph is left out, such as ComfyUI's where a node is not installed.
    """
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
    chunks = _text_chunks(path)
    try:
        if OURS in chunks:
            return read_native(_mapping(parse_json(chunks[OURS])), specs)
        if COMFY in chunks:
            return read_prompt(_prompt(chunks[COMFY]), specs, clamp_seeds=True)
        if EDITOR in chunks:
            return read_workflow(_workflow(chunks[EDITOR]), specs or {})
    except FormatError as error:
        key = next(key for key in (OURS, COMFY, EDITOR) if key in chunks)
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


def _text_chunks(path: Path) -> dict[str, str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # No pixel is decoded here, so that a large image needs no warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=[name.upper() for name in CARRIERS]) as image:
                info: dict[Any, Any] = dict(image.info)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise FormatError(f"{path.name}: expected {EXPECTED}: {error}") from error
    except Image.DecompressionBombError as error:
        raise FormatError(f"{path.name} is too large: {error}") from error
    return {key: value for key, value in info.items() if isinstance(value, str)}
