"""A graph as a drawing: nodes with their ports and values, links in the colours of their types."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import FormatError
from ..graph.graph import Graph, Link, Node
from ..graph.layered import Point, Size, layered_layout
from ..graph.literal import describe_value
from ..node.spec import NodeSpec
from .output_names import declared

Specs = Mapping[str, NodeSpec]
WIDTH, HEAD, ROW, PAD, MARGIN = 250, 40, 18, 8, 24
MAX_DRAWN, MAX_TEXT_CHARS, MAX_ROWS = 2000, 34, 12
NODE, EDGE, INK, MUTED_INK, PAPER = "#ffffff", "#c3c9d2", "#1f2933", "#68737f", "#f4f6f8"
FRESH = "#e8ecf1"
STATE_COLOURS = {
    "run": "#f5a623", "reuse": "#58b368", "skip": "#b8c0c9",
    "added": "#58b368", "removed": "#e0787f", "changed": "#f5a623",
}  # fmt: skip
MARK = "#b3261e"
TYPE_COLOURS = {
    "MODEL": "#8a6fd1", "CLIP": "#d9a400", "VAE": "#d1495b", "CONDITIONING": "#d9822b",
    "LATENT": "#c15fb0", "IMAGE": "#2f80c9", "MASK": "#3c9d5f", "CONTROL_NET": "#2aa198",
}  # fmt: skip
OTHER_TYPE = "#7d8a97"


class Rect(NamedTuple):
    """A filled rectangle with rounded corners and an outline."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    outline: str


class Words(NamedTuple):
    """A line of text; its y is the base line, its x the left or right end."""

    x: float
    y: float
    text: str
    colour: str = INK
    size: int = 12
    is_bold: bool = False
    is_right: bool = False


class Dot(NamedTuple):
    """A port."""

    x: float
    y: float
    colour: str


class Curve(NamedTuple):
    """A link from a port to a port, through points in pairs that straight lines connect."""

    points: tuple[Point, ...]
    colour: str


@dataclass
class Drawing:
    """Shapes from the back to the front, on a page of this size in px.

    Attributes:
        corners: the upper left corner of each node.
    """

    width: float = 0
    height: float = 0
    shapes: list[Rect | Words | Dot | Curve] = field(default_factory=list)
    corners: Mapping[str, Point] = field(default_factory=dict)


def draw(
    graph: Graph,
    specs: Specs,
    states: Mapping[str, str] | None = None,
    marked: Container[tuple[str, str]] = (),
) -> Drawing:
    """Return a drawing of a graph.

    Args:
        states: run, reuse or skip by node, as a plan says, or added, removed or changed; nodes
            have their colours.
        marked: inputs of nodes that stand out, as pairs of node and input.

    Raises:
        FormatError: the graph has a cycle, or more than MAX_DRAWN nodes.
    """
    if graph.cycle() is not None:
        raise FormatError("a graph with a cycle cannot be drawn")
    if len(graph.nodes) > MAX_DRAWN:
        raise FormatError(f"expected at most {MAX_DRAWN} nodes to draw, got {len(graph.nodes)}")
    boxes = {id: _Box(id, node, declared(node.type, specs)) for id, node in graph.nodes.items()}
    for node in graph.nodes.values():
        for _, link in node.links():
            if link.node in boxes:
                boxes[link.node].output(link.output)
    sizes = {id: Size(WIDTH, box.height) for id, box in boxes.items()}
    layout = layered_layout(graph, sizes)
    corners = {id: Point(x + MARGIN, y + MARGIN) for id, (x, y) in layout.corners.items()}
    drawing = Drawing(
        corners=corners,
        width=max((corners[id].x for id in graph.nodes), default=0) + WIDTH + MARGIN,
        height=max(
            (corner.y + (sizes[id].height if id in sizes else 0) for id, corner in corners.items()),
            default=0,
        )
        + MARGIN,
    )
    for id, node in graph.nodes.items():
        for name, link in node.links():
            if link.node in boxes:
                origin = boxes[link.node]
                start = origin.output_port(corners[link.node], origin.output(link.output))
                points = [start]
                for column, (x, y) in layout.routes[link].items():
                    if column < layout.columns[id]:
                        points += [
                            Point(x + MARGIN, y + MARGIN),
                            Point(x + MARGIN + WIDTH, y + MARGIN),
                        ]
                points.append(boxes[id].input_port(corners[id], name))
                colour = _colour(origin.output_type(link.output))
                drawing.shapes.append(Curve(tuple(points), colour))
    for id, box in boxes.items():
        colour = STATE_COLOURS.get((states or {}).get(id, ""), "")
        drawing.shapes += box.shapes(corners[id], colour, marked)
    return drawing


class _Box:
    """A node: a head with name and type, rows of ports, and rows of values."""

    def __init__(self, id: str, node: Node, spec: NodeSpec | None) -> None:
        self._id, self._node, self._spec = id, node, spec
        self._inputs = [name for name, _ in node.links()]
        self._outputs: list[str] = []
        values = [
            (name, value) for name, value in node.inputs.items() if not isinstance(value, Link)
        ]
        self._values = [(name, f"{name}: {_shown(value)}") for name, value in values[:MAX_ROWS]]
        if len(values) > MAX_ROWS:
            self._values.append(("", f"and {len(values) - MAX_ROWS} more"))

    @property
    def height(self) -> float:
        rows = max(len(self._inputs), len(self._outputs)) + len(self._values)
        return HEAD + ROW * rows + PAD

    def output(self, output: str | int) -> int:
        """Return the row of an output that something uses."""
        name = self._output_name(output)
        if name not in self._outputs:
            self._outputs.append(name)
        return self._outputs.index(name)

    def output_type(self, output: str | int) -> str:
        index = self._spec.output_index(output) if self._spec is not None else None
        return self._spec.outputs[index].type if self._spec and index is not None else ""

    def _output_name(self, output: str | int) -> str:
        index = self._spec.output_index(output) if self._spec is not None else None
        return self._spec.outputs[index].name if self._spec and index is not None else str(output)

    def output_port(self, corner: Point, row: int) -> Point:
        return Point(corner.x + WIDTH, corner.y + HEAD + ROW * (row + 0.5))

    def input_port(self, corner: Point, name: str) -> Point:
        row = self._inputs.index(name)
        return Point(corner.x, corner.y + HEAD + ROW * (row + 0.5))

    def shapes(
        self, corner: Point, colour: str, marked: Container[tuple[str, str]]
    ) -> list[Rect | Words | Dot | Curve]:
        """Return the shapes of the node; its head in the colour of its state, if there is one."""

        def style(name: str, ink: str) -> tuple[str, int, bool]:
            is_marked = (self._id, name) in marked
            return MARK if is_marked else ink, 11, is_marked

        x, y = corner
        shapes: list[Rect | Words | Dot | Curve] = [
            Rect(x, y, WIDTH, self.height, NODE, colour or EDGE),
            Rect(x, y, WIDTH, HEAD - 4, colour or FRESH, colour or EDGE),
            Words(x + PAD, y + 16, _cut(self._id), size=13, is_bold=True),
            Words(x + PAD, y + 30, _cut(self._node.type), INK if colour else MUTED_INK, 10),
        ]
        spec = self._spec.fitted(self._node.inputs) if self._spec is not None else None
        for name in self._inputs:
            at = self.input_port(corner, name)
            port = spec.port(name) if spec is not None else None
            shapes.append(Dot(*at, _colour(port.type if port is not None else "")))
            shapes.append(Words(at.x + PAD + 2, at.y + 4, _cut(name), *style(name, MUTED_INK)))
        for row, name in enumerate(self._outputs):
            at = self.output_port(corner, row)
            shapes.append(Dot(*at, _colour(self.output_type(name))))
            shapes.append(Words(at.x - PAD - 2, at.y + 4, _cut(name), MUTED_INK, 11, is_right=True))
        top = y + HEAD + ROW * max(len(self._inputs), len(self._outputs))
        for row, (name, text) in enumerate(self._values):
            at = Point(x + PAD + 2, top + ROW * row + 13)
            shapes.append(Words(at.x, at.y, _cut(text), *style(name, INK)))
        return shapes


def _shown(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else describe_value(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[: MAX_TEXT_CHARS - 1]}…"


def _colour(type_name: str) -> str:
    return TYPE_COLOURS.get(type_name, OTHER_TYPE)
