"""Graphs in pictures: PNG text chunks, ours first, then ComfyUI's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..graph import Graph
from .comfy_prompt import Specs, read_prompt, write_prompt
from .native import read_native, to_native
from .parsing import parse_json

OURS, COMFY = "latentloom", "prompt"


def embed(graph: Graph, specs: Specs) -> dict[str, str]:
    """The text chunks that let a picture be run again, here and in ComfyUI."""
    chunks = {OURS: json.dumps(to_native(graph), ensure_ascii=False)}
    try:
        chunks[COMFY] = json.dumps(write_prompt(graph, specs), ensure_ascii=False)
    except FormatError:
        # A node that is not installed keeps ComfyUI's form from being written; ours is whole.
        return chunks
    return chunks


def read_picture(path: Path, specs: Specs | None = None) -> Graph:
    """The graph in a picture.

    Raises:
        FormatError: it is no PNG, or carries no graph that can be read.
    """
    chunks = _text_chunks(path)
    if OURS in chunks:
        data = parse_json(chunks[OURS])
        if not isinstance(data, dict):
            raise FormatError(f"{path.name}: its {OURS} text holds no graph")
        return read_native(data)
    if COMFY in chunks:
        data = parse_json(chunks[COMFY])
        if not isinstance(data, dict):
            raise FormatError(f"{path.name}: its {COMFY} text holds no graph")
        return read_prompt(data, specs)
    raise FormatError(f"{path.name} carries no graph; wants a PNG that latentloom or ComfyUI saved")


def _text_chunks(path: Path) -> dict[str, str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            info: dict[Any, Any] = dict(picture.info)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise FormatError(f"{path.name} cannot be read as a PNG: {error}") from error
    except Image.DecompressionBombError as error:
        raise FormatError(f"{path.name} is too large: {error}") from error
    return {key: value for key, value in info.items() if isinstance(value, str)}
