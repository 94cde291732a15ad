"""The layout of a drawing: nothing overlaps, links lead to the right."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.graph.layered import Size, layered_layout


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: dict[str, Node] = {}
    for index in range(draw(st.integers(0, 12))):
        origins = draw(st.lists(st.sampled_from(sorted(nodes)), max_size=3)) if nodes else []
        inputs = {f"i{n}": Link(origin, n % 2) for n, origin in enumerate(origins)}
        nodes[f"n{index}"] = Node("Any", inputs)
    return Graph(nodes)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_nodes_do_not_overlap_and_links_lead_to_the_right(graph: Graph) -> None:
    sizes = {id: Size(100, 40 + 10 * len(node.inputs)) for id, node in graph.nodes.items()}
    layout = layered_layout(graph, sizes)
    boxes = [(*layout.corners[id], *sizes[id]) for id in graph.nodes]
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(boxes, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 + 1e-6 or y2 + h2 <= y + 1e-6
    for id, node in graph.nodes.items():
        for _, link in node.links():
            assert layout.columns[link.node] < layout.columns[id]
            passed = [column for column in layout.routes[link] if column < layout.columns[id]]
            assert passed == list(range(layout.columns[link.node] + 1, layout.columns[id]))


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_a_link_passes_no_node(graph: Graph) -> None:
    sizes = {id: Size(100, 40) for id in graph.nodes}
    layout = layered_layout(graph, sizes)
    for columns in layout.routes.values():
        for column, (_, y) in columns.items():
            others = [id for id in graph.nodes if layout.columns[id] == column]
            tops = [layout.corners[id].y for id in others]
            assert all(y <= top or y >= top + 40 for top in tops)
