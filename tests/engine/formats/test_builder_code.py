"""The Python code of a graph builds the same graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import latentloom
from latentloom.engine.errors import FormatError
from latentloom.engine.formats import load_graph, name_outputs
from latentloom.engine.formats.builder_code import as_python
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from latentloom.engine.graph.library import graphs_dir
from tests.cli.commands import run

REGISTRY = latentloom.registry()
GRAPHS = sorted((graphs_dir() or Path()).glob("*.yaml"))


def built(code: str) -> Graph:
    names: dict[str, Any] = {}
    exec(compile(code, "graph.py", "exec"), names)
    graph: Graph = names["graph"]
    return graph


def content(graph: Graph) -> Any:
    nodes = {id: (node.type, node.title, node.inputs) for id, node in graph.nodes.items()}
    inputs = {name: vars(item) for name, item in graph.inputs.items()}
    return nodes, inputs, graph.title, graph.description


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_code_of_a_shipped_graph_builds_it(path: Path) -> None:
    graph = name_outputs(load_graph(path, REGISTRY), REGISTRY)
    assert content(built(as_python(graph, REGISTRY))) == content(graph)


IDS = st.one_of(
    st.sampled_from(["b", "graph", "class", "57:27", "a b", "it's", "input x", "latentloom"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    sizes: st.SearchStrategy[Any] = st.one_of(st.just(InputRef("size")), st.integers(1, 64))
    size = draw(sizes)
    flags = st.booleans()
    nodes: dict[str, Node] = {}
    for id in draw(st.lists(IDS, min_size=1, max_size=5, unique=True)):
        title = draw(st.sampled_from(["", "A 'title'"]))
        is_linked = bool(nodes) and draw(flags)
        if is_linked:
            origin = Link(draw(st.sampled_from(sorted(nodes))), "IMAGE")
            nodes[id] = Node("ImageInvert", {"image": origin}, title)
        else:
            values = {"width": size, "height": 8, "batch_size": 1, "color": 0}
            nodes[id] = Node("EmptyImage", values, title)
    inputs = {"size": GraphInput("int", 8, 1, 64, description='a "size"')}
    return Graph(nodes, inputs, draw(st.sampled_from(["", "T\n\\"])), draw(st.text(max_size=5)))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_the_code_of_any_graph_builds_it(graph: Graph) -> None:
    assert content(built(as_python(graph, REGISTRY))) == content(graph)


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(FormatError, match="node n: expected a node that is installed, got Nope"):
        as_python(Graph({"n": Node("Nope")}), REGISTRY)
    loop = Graph({"n": Node("ImageInvert", {"image": Link("n", "IMAGE")})})
    with pytest.raises(FormatError, match="cycle"):
        as_python(replace(loop), REGISTRY)


def test_the_command_prints_code(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "python", "img2img")
    assert (code, err) == (0, "")
    assert list(built(out).nodes) == ["model", "photo", "positive", "negative", "encode", "sample", "decode", "save"]  # fmt: skip  # noqa: E501
