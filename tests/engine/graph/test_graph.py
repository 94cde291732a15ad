"""Graphs are frozen; edits give new ones and keep what did not change."""

from __future__ import annotations

import pytest

from latentloom.engine.errors import GraphError
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from tests.engine.fakes import graph

PAIR = graph(one=("Number", {"value": 1}), two=("Show", {"value": "$one.INT"}))


def test_an_edit_leaves_the_old_graph_alone() -> None:
    edited = PAIR.set("one.value", 2)
    assert PAIR.nodes["one"].inputs["value"] == 1
    assert edited.nodes["one"].inputs["value"] == 2


def test_a_literal_edit_keeps_the_structure() -> None:
    network = PAIR.network
    assert PAIR.set("one.value", 2).network is network


def test_a_link_edit_makes_the_structure_anew() -> None:
    edited = PAIR.set("two.value", 5)
    assert list(PAIR.network.edges) == [("one", "two")]
    assert list(edited.network.edges) == []


def test_inputs_cannot_be_changed_in_place() -> None:
    with pytest.raises(TypeError):
        PAIR.nodes["one"].inputs["value"] = 3  # type: ignore[index]


def test_nested_literals_are_frozen_too() -> None:
    values = [1, [2]]
    node = Node("Any", {"value": values})
    values.append(3)
    assert node.inputs["value"] == (1, (2,))


def test_add_and_remove() -> None:
    more = PAIR.add("three", "Show", value=Link("one", 0))
    assert list(more.nodes) == ["one", "two", "three"]
    assert list(more.remove("two").nodes) == ["one", "three"]


def test_an_unknown_id_names_the_known_ones() -> None:
    with pytest.raises(GraphError, match=r"one, two.*got tree"):
        PAIR.set("tree.value", 1)


def test_inputs_are_bound_to_their_values() -> None:
    graph = Graph({"a": Node("Number", {"value": InputRef("n")})}, {"n": GraphInput("int", 3)})
    assert graph.bound().nodes["a"].inputs["value"] == 3
    assert graph.set_input("n", 4).bound().nodes["a"].inputs["value"] == 4
    with pytest.raises(GraphError, match=r"an input of the graph \(n\), got m"):
        graph.set_input("m", 4)


def test_generations_follow_the_links() -> None:
    assert PAIR.generations == (("one",), ("two",))


def test_a_cycle_is_named_in_order() -> None:
    ring = graph(a=("Add", {"a": "$c.0"}), b=("Add", {"a": "$a.0"}), c=("Add", {"a": "$b.0"}))
    cycle = ring.cycle()
    assert cycle is not None
    assert "".join(cycle) in ("abc", "bca", "cab")


def test_upstream_is_all_that_is_needed() -> None:
    width = PAIR.add("lone", "Number")
    assert width.upstream(["two"]) == {"one", "two"}
