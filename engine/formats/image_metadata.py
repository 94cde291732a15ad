"""Graphs in image files: this project's form first, then those of ComfyUI.

A PNG holds them as text chunks. Other formats hold them in EXIF, each as the text `key:graph` of
some tag; ComfyUI writes `prompt:` and `workflow:` so.
"""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
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
EXPECTED = f"a {', '.join(CARRIERS[:-1])} or {CARRIERS[-1]} saved by latentloom or ComfyUI"
# What Pillow raises on damaged files.
READ_ERRORS = (
    OSError, ValueError, SyntaxError, TypeError, LookupError, AttributeError, ArithmeticError,
    RuntimeError, MemoryError, struct.error,
)  # fmt: skip


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
    chunks = _texts(path)
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


def _texts(path: Path) -> dict[str, str]:
    """Return the texts of an image by their keys: text chunks, and tags of EXIF."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name.upper() for name in CARRIERS if name.upper() in Image.OPEN]
    try:
        with warnings.catch_warnings():
            # No pixel is decoded here, so that a large image needs no warning.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats) as image:
                info: dict[Any, Any] = dict(image.info)
                tags = list(_exif_tags(image))
    except UnidentifiedImageError as error:
        raise FormatError(f"{path.name}: expected {EXPECTED}, got something else") from error
    except Image.DecompressionBombError as error:
        raise FormatError(f"{path.name} is too large: {error}") from error
    except READ_ERRORS as error:
        raise FormatError(f"{path.name}: expected {EXPECTED}: {error}") from error
    chunks = {key: value for key, value in info.items() if isinstance(value, str)}
    return _keyed(tags) | chunks


def _exif_tags(image: Any) -> Iterator[object]:
    """Yield the values of the EXIF tags; none where EXIF cannot be read."""
    with suppress(*READ_ERRORS):
        exif = image.getexif()
        for tag in list(exif):
            with suppress(*READ_ERRORS):
                yield exif[tag]


def _keyed(tags: Iterable[object]) -> dict[str, str]:
    """Return the tags of the form `key:text` whose key is that of a graph, in any case."""
    texts: dict[str, str] = {}
    for value in tags:
        key, _, text = _as_text(value).partition(":")
        if key.lower() in (OURS, COMFY, EDITOR):
            texts.setdefault(key.lower(), text)
    return texts


def _as_text(value: object) -> str:
    """Return a tag as text; Pillow decodes ASCII tags as Latin-1, and some programs write UTF-8."""
    data = value.encode("latin-1", "replace") if isinstance(value, str) else value
    return data.decode("utf-8", "replace").strip("\0 ") if isinstance(data, bytes) else ""
