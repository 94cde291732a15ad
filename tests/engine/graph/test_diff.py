"""Differences of graphs, and merging: by name, else by type and wiring."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.graph.diff import apply_diff, diff
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from latentloom.engine.graph.merge import merge

TYPES = ("Number", "Add", "Scale")
VALUES = st.one_of(st.integers(0, 2), st.sampled_from(["a", 0.5, True, InputRef("x")]))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes: dict[str, Node] = {}
    for id in draw(st.lists(st.sampled_from("abcdefgh"), max_size=6, unique=True)):
        values = draw(st.dictionaries(st.sampled_from("pq"), VALUES, max_size=2))
        links = {
            name: Link(origin, "OUT")
            for name, origin in (("r", draw(st.sampled_from(sorted(nodes) or [""]))),)
            if origin and draw(st.booleans())
        }
        nodes[id] = Node(draw(st.sampled_from(TYPES)), {**values, **links})
    inputs = {"x": GraphInput("int", draw(st.integers(0, 2)))} if draw(st.booleans()) else {}
    return Graph(nodes, inputs, draw(st.sampled_from(["", "t"])))


def plain(graph: Graph) -> Any:
    """A graph without the order of its nodes."""
    return dict(graph.nodes), dict(graph.inputs), graph.title


@settings(max_examples=300, deadline=None)
@given(graphs(), graphs())
def test_the_differences_make_the_old_graph_the_new_one(old: Graph, new: Graph) -> None:
    assert plain(apply_diff(old, diff(old, new))) == plain(new)
    assert diff(old, old).changes == ()


@settings(max_examples=300, deadline=None)
@given(graphs(), graphs())
def test_a_side_that_changed_alone_is_the_merged_graph(base: Graph, side: Graph) -> None:
    for merged in (merge(base, side, base), merge(base, base, side), merge(base, side, side)):
        assert merged.conflicts == ()
        assert diff(merged.graph, side).changes == ()


@settings(max_examples=300, deadline=None)
@given(graphs(), graphs(), graphs())
def test_merging_finds_the_same_conflicts_from_both_sides(
    base: Graph, ours: Graph, theirs: Graph
) -> None:
    first, second = merge(base, ours, theirs), merge(base, theirs, ours)
    assert bool(first.conflicts) == bool(second.conflicts)


@settings(max_examples=200, deadline=None)
@given(graphs(), st.permutations("12345678"))
def test_numbers_and_their_order_do_not_count(graph: Graph, numbers: list[str]) -> None:
    named = dict(zip("abcdefgh", numbers, strict=True))

    def renumbered(node: Node) -> Node:
        links = {name: Link(named[link.node], link.output) for name, link in node.links()}
        return replace(node, inputs={**node.inputs, **links})

    other = replace(
        graph, nodes={named[id]: renumbered(graph.nodes[id]) for id in reversed(list(graph.nodes))}
    )
    assert diff(graph, other).changes == ()
    assert diff(other, graph).changes == ()


def chain(count: int, start: int = 0) -> Graph:
    nodes = {str(start): Node("Number", {"value": 1})}
    for index in range(start + 1, start + count):
        nodes[str(index)] = Node("Add", {"a": Link(str(index - 1), 0), "b": index - start})
    return Graph(nodes)


def test_one_change_in_a_renumbered_graph_is_one_line() -> None:
    old, new = chain(20), chain(20, start=100).set("107.b", 99)
    assert [str(change) for change in diff(old, new).changes] == ["107.b: 7 -> 99"]
    new = new.add("500", "Scale", a=Link("110", 0)).set("111.a", Link("500", 0))
    texts = [str(change) for change in diff(old, new).changes]
    assert texts == ["107.b: 7 -> 99", "111.a: $110.0 -> $500.0", "500: added, Scale"]


def test_changes_speak_of_nodes_inputs_and_links() -> None:
    inputs = {"n": GraphInput("int", 1, max=5)}
    old = Graph(inputs=inputs).add("one", "Number").add("pass2", "Add", a=Link("one", 0), b=0.3)
    new = old.set("pass2.b", 0.35).add("two", "Number").set("pass2.a", Link("two", 0))
    new = replace(new.set_input("n", 2), title="T").remove("one").add("pass2", "Add", b=0.35)
    assert [str(change) for change in diff(old, new).changes] == [
        "title: '' -> 'T'", "input n: 1 -> 2", "pass2.b: 0.3 -> 0.35", "pass2.a: $two.0 -> none",
    ]  # fmt: skip
    wider = replace(old, inputs={"n": GraphInput("int", 1, max=9)})
    assert [str(change) for change in diff(old, wider).changes] == ["input n: max 5 -> max 9"]
    longer = "many words " * 30
    texts = diff(old.set("pass2.b", longer + "red"), old.set("pass2.b", longer + "blue")).changes
    assert str(texts[0]).endswith("words blue'")
    assert "words red' -> '..." in str(texts[0])


def test_graphs_of_ten_thousand_nodes_are_compared_in_linear_time() -> None:
    def duration(count: int) -> float:
        old, new = chain(count), chain(count, start=7).set(f"{count // 2}.b", -1)
        begun = time.process_time()
        assert len(diff(old, new).changes) == 1
        return time.process_time() - begun

    assert duration(10_000) < 40 * duration(1000)


BASE = Graph().add("n", "Number", value=1).add("s", "Scale", a=Link("n", 0), times=2)


def test_both_sides_changes_are_merged_and_conflicts_are_said() -> None:
    merged = merge(BASE, BASE.set("s.times", 3), BASE.set("n.value", 5).add("t", "Number"))
    assert merged.conflicts == ()
    assert list(merged.graph.nodes) == ["n", "s", "t"]
    assert merged.graph.nodes["s"].inputs["times"] == 3
    assert merged.graph.nodes["n"].inputs["value"] == 5
    merged = merge(BASE, BASE.set("s.times", 3), BASE.set("s.times", 4))
    assert [str(c) for c in merged.conflicts] == ["s.times: ours 3, theirs 4, before 2"]
    assert merged.graph.nodes["s"].inputs["times"] == 3


@pytest.mark.parametrize("swapped", [False, True])
def test_a_removed_node_that_the_other_side_needs_is_a_conflict(swapped: bool) -> None:
    removed, changed = BASE.remove("s"), BASE.set("s.times", 9)
    sides = (changed, removed) if swapped else (removed, changed)
    (conflict,) = merge(BASE, *sides).conflicts
    assert "removed the node that the other side changed" in str(conflict)
    linked = BASE.add("t", "Scale", a=Link("n", 0))
    sides = (linked, BASE.remove("n", "s")) if swapped else (BASE.remove("n", "s"), linked)
    assert [str(c) for c in merge(BASE, *sides).conflicts] == [
        "t.a: it links to n, which was removed"
    ]


def test_a_link_that_led_nowhere_before_is_not_a_conflict() -> None:
    side = BASE.remove("n")
    assert merge(BASE, side, BASE).conflicts == merge(BASE, BASE, side).conflicts == ()


def test_nodes_that_both_sides_added_under_one_number_stay_apart() -> None:
    base = Graph().add("1", "Number", value=1)
    merged = merge(base, base.add("2", "Number", value=2), base.add("2", "Scale", times=3))
    assert sorted(node.type for node in merged.graph.nodes.values()) == [
        "Number", "Number", "Scale",
    ]  # fmt: skip
    assert merged.conflicts == ()
