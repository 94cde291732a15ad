"""Whatever the graph, the edits and the cache: a run gives what plain evaluation gives."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph, Link, Node
from tests.engine import fakes

SMALL = st.integers(0, 3)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to twelve nodes, each linked to earlier ones; the last ones are shown."""
    nodes: dict[str, Node] = {"n0": Node("Number", {"value": draw(SMALL)})}
    for index in range(1, draw(st.integers(1, 12))):
        origin = st.sampled_from(sorted(nodes))
        nodes[f"n{index}"] = draw(
            st.one_of(
                st.builds(lambda value: Node("Number", {"value": value}), SMALL),
                st.builds(lambda a, b: Node("Add", {"a": link(nodes, a), "b": b}), origin, SMALL),
                st.builds(lambda a: Node("Parity", {"a": link(nodes, a)}), origin),
                st.builds(lambda a: Node("Halve", {"a": link(nodes, a)}), origin),
                st.builds(
                    lambda a, b, first: Node(
                        "Pick", {"first": first, "a": link(nodes, a), "b": link(nodes, b)}
                    ),
                    origin,
                    origin,
                    st.booleans(),
                ),
            )
        )
    shown = draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=3, unique=True))
    for id in shown:
        nodes[f"show_{id}"] = Node("Show", {"value": link(nodes, id)})
    return Graph(nodes)


def link(nodes: dict[str, Node], id: str) -> Link:
    return Link(id, 1 if nodes[id].type == "Halve" else 0)


def evaluate(graph: Graph) -> dict[str, Any]:
    """Each node's outputs, computed one after another with nothing kept."""
    results: dict[str, tuple[Any, ...]] = {}
    for id, node in graph.nodes.items():
        values = {
            name: results[value.node][int(value.output)] if isinstance(value, Link) else value
            for name, value in node.inputs.items()
        }
        spec = fakes.REGISTRY[node.type]
        result = spec.run(**values)
        results[id] = (result,) if spec.has_bare_result else result
    return {id: results[id][0] for id in graph.nodes if id.startswith("show_")}


@settings(max_examples=150, deadline=None)
@given(
    graphs(),
    st.lists(st.tuples(st.integers(0, 11), SMALL), max_size=5),
    st.sampled_from([0, 300, 2**20]),
)
def test_runs_after_any_edits_give_what_evaluation_gives(
    graph: Graph, edits: list[tuple[int, int]], cache_bytes: int
) -> None:
    with Engine(fakes.REGISTRY, cache_bytes=cache_bytes, workers=2) as engine:
        for index, value in [(-1, 0), *edits]:
            node = graph.nodes.get(f"n{index}")
            if node is not None and node.type == "Number":
                graph = graph.set(f"n{index}.value", value)
            result = engine.run(graph)
            assert result.status == "done"
            assert {id: result[id] for id in result.nodes if id.startswith("show_")} == evaluate(
                graph
            )
            assert engine.shared.in_flight == {}


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_a_run_calls_nothing_that_the_plan_did_not_say(graph: Graph) -> None:
    with Engine(fakes.REGISTRY) as engine:
        plan, result = engine.plan(graph), engine.run(graph)
        ran = {id for id, report in result.nodes.items() if report.state == "ran"}
        planned = {id for id, step in plan.nodes.items() if step.action == "run"}
        maybe = {
            value.node
            for node in graph.nodes.values()
            if node.type == "Pick"
            for value in node.inputs.values()
            if isinstance(value, Link)
        }
        assert ran <= planned | graph.upstream(maybe)
        assert engine.plan(graph).count("run") == 0
