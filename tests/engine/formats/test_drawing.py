"""Drawings of graphs, as SVG and PNG."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from latentloom.engine.errors import FormatError
from latentloom.engine.formats import load_graph
from latentloom.engine.formats.drawing import MAX_DRAWN, STATE_COLOURS, TYPE_COLOURS, draw
from latentloom.engine.formats.drawing_files import as_png, as_svg
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.node.registry import Registry
from tests.cli.commands import run
from tests.paths import ROOT

REGISTRY = Registry.from_package("latentloom.nodes")
GRAPHS = sorted((graphs_dir() or Path()).glob("*.yaml"))
SMALL = (
    Graph()
    .add("photo", "LoadImage", image="a<b>&'\".png")
    .add("bright", "ImageInvert", image=Link("photo", "IMAGE"))
    .add("other", "Unheard Of", source=Link("bright", 0), much=3)
)


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_every_shipped_graph_is_drawn_with_all_its_nodes(path: Path) -> None:
    graph = load_graph(path, REGISTRY)
    shown = texts(as_svg(draw(graph.bound(), REGISTRY)))
    assert set(graph.nodes) <= set(shown)
    assert {node.type for node in graph.nodes.values()} <= set(shown)


def test_ports_values_and_types_are_shown() -> None:
    svg = as_svg(draw(SMALL, REGISTRY))
    assert {"image: a<b>&'\".png", "IMAGE", "much: 3", "Unheard Of"} <= set(texts(svg))
    assert svg.count(f'stroke="{TYPE_COLOURS["IMAGE"]}"') == 2


def test_a_plan_colours_the_nodes() -> None:
    actions = {"photo": "reuse", "bright": "run"}
    svg = as_svg(draw(SMALL, REGISTRY, actions))
    assert [svg.count(f'fill="{STATE_COLOURS[key]}"') for key in ("run", "reuse", "skip")] == [
        1, 1, 0,
    ]  # fmt: skip


def test_a_png_has_the_size_of_the_drawing() -> None:
    drawing = draw(SMALL, REGISTRY)
    with Image.open(io.BytesIO(as_png(drawing))) as image:
        assert image.size == (round(2 * drawing.width), round(2 * drawing.height))
        colours = image.getcolors(2**24) or []
    assert TYPE_COLOURS["IMAGE"] in {"#{:02x}{:02x}{:02x}".format(*c) for _, c in colours}  # type: ignore[misc]


def test_what_cannot_be_drawn_is_said() -> None:
    loop = Graph({"a": Node("Any", {"x": Link("a", 0)})})
    with pytest.raises(FormatError, match="cycle"):
        draw(loop, REGISTRY)
    with pytest.raises(FormatError, match=f"at most {MAX_DRAWN} nodes"):
        draw(Graph({str(n): Node("Any") for n in range(MAX_DRAWN + 1)}), REGISTRY)
    assert as_svg(draw(Graph(), REGISTRY)).startswith("<svg")


def test_the_command_writes_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.svg", "a.png"):
        target = tmp_path / name
        assert run(capsys, "draw", "img2img", "-o", target, "--plan") == (0, f"{target}\n", "")
        assert target.stat().st_size > 1000
    code, _, err = run(capsys, "draw", "img2img", "-o", tmp_path / "a.jpg")
    assert (code, "expected extension .svg or .png" in err) == (1, True)


def test_the_drawing_of_the_readme_is_current() -> None:
    path = next(path for path in GRAPHS if path.stem == "multi_pass")
    svg = as_svg(draw(load_graph(path, REGISTRY).bound(), REGISTRY))
    assert (ROOT / "docs" / "multi_pass.svg").read_text() == svg
