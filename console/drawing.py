"""`draw`: a graph as an image file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.drawing import draw
from latentloom.engine.formats.drawing_files import as_png, as_svg
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.registry import Registry


def save_drawing(graph: Graph, registry: Registry, path: Path, actions: Mapping[str, str]) -> None:
    """Write a drawing of a graph.

    Args:
        actions: run, reuse or skip by node; empty without a plan.

    Raises:
        FormatError: the extension is neither .svg nor .png, or the graph cannot be drawn.
        OSError: the file cannot be written.
    """
    extension = path.suffix.lower()
    if extension not in (".svg", ".png"):
        raise FormatError(f"{path.name}: expected extension .svg or .png")
    drawing = draw(graph.bound(), registry, actions)
    data = as_png(drawing) if extension == ".png" else as_svg(drawing).encode("utf-8")
    path.write_bytes(data)
