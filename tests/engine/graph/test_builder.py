"""Building graphs in Python: what is recorded, and what is refused at once."""

from __future__ import annotations

import time

import numpy as np
import pytest

from latentloom.engine.errors import GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.builder import Builder
from latentloom.engine.graph.graph import GraphInput, InputRef, Link
from tests.engine.fakes import REGISTRY


@pytest.fixture
def builder() -> Builder:
    return Builder(REGISTRY, "Title")


def kinds(error: GraphError) -> list[str]:
    return [problem.kind for problem in error.problems]


def test_a_built_graph_runs(builder: Builder, engine: Engine) -> None:
    high, low = builder.Halve(a=builder.Number(value=7))
    builder.Show(value=builder.Add(a=high, b=low), id="sum")
    assert engine.run(builder.graph)["sum"] == 4


def test_ids_are_snake_case_and_counted(builder: Builder) -> None:
    for _ in range(3):
        builder.Number(value=1)
    assert list(builder.graph.nodes) == ["number", "number_2", "number_3"]


def test_automatic_ids_go_round_those_that_were_given(builder: Builder) -> None:
    builder.Number(value=1, id="number_2")
    builder.Number(value=1, id="number")
    assert builder.Number(value=1).id == "number_3"


def test_an_id_is_given_once(builder: Builder) -> None:
    builder.Number(value=1, id="start")
    with pytest.raises(GraphError, match="start, the id of a Number") as caught:
        builder.Parity(a=2, id="start")
    assert kinds(caught.value) == ["id_taken"]
    assert builder.graph.nodes["start"].inputs == {"value": 1}


def test_titles_and_inputs_are_recorded(builder: Builder) -> None:
    start = builder.input("start", "int", 3, min=0, max=9)
    builder.Number(value=start, title="The start")
    graph = builder.graph
    assert graph.title == "Title"
    assert graph.inputs == {"start": GraphInput("int", 3, 0, 9)}
    assert graph.nodes["number"].inputs == {"value": InputRef("start")}
    assert graph.nodes["number"].title == "The start"


def test_a_graph_that_was_taken_does_not_change_later(builder: Builder) -> None:
    builder.Number(value=1)
    before = builder.graph
    assert builder.graph is before
    builder.Number(value=2)
    assert list(before.nodes) == ["number"]
    assert list(builder.graph.nodes) == ["number", "number_2"]


def test_outputs_unpack_in_order_and_have_names(builder: Builder) -> None:
    handle = builder.Halve(a=7)
    first, second = handle
    names = [output.name for output in handle]
    assert (first.node, first.name) == ("halve", names[0])
    assert getattr(handle, names[1]) is second


def test_outputs_have_an_index_and_no_other(builder: Builder) -> None:
    handle = builder.Halve(a=7)
    assert [handle[0], handle[1]] == list(handle)
    with pytest.raises(IndexError):
        handle[2]


def test_inputs_that_are_given_without_their_names_are_refused_in_words(builder: Builder) -> None:
    with pytest.raises(TypeError, match="Number takes its inputs by name, got 7"):
        builder.Number(7)


def test_numbers_of_numpy_are_numbers(builder: Builder, engine: Engine) -> None:
    builder.Show(value=builder.Number(value=np.int64(7)), id="seven")
    builder.Blend(a=np.float32(2), weight=np.float64(0.5), id="one")
    assert type(builder.graph.nodes["number"].inputs["value"]) is int
    assert type(builder.graph.nodes["one"].inputs["a"]) is float
    assert engine.run(builder.graph, targets=["seven", "one"])["one"] == 1.0


def test_a_target_may_be_given_alone(builder: Builder, engine: Engine) -> None:
    builder.Number(value=7, id="seven")
    assert engine.run(builder.graph, targets="seven")["seven"] == 7
    with pytest.raises(GraphError, match="did you mean 'seven'"):
        engine.run(builder.graph, targets="sevn")


def test_wrong_inputs_are_refused_at_once_and_nothing_is_recorded(builder: Builder) -> None:
    with pytest.raises(GraphError) as caught:
        builder.Add(b="text", c=1)
    assert sorted(kinds(caught.value)) == ["missing_input", "unknown_input", "wrong_type"]
    assert builder.graph.nodes == {}
    assert builder.Add(a=1).id == "add"


def test_links_by_name_are_taken_as_they_are(builder: Builder) -> None:
    builder.Parity(a=Link("later", 0))
    assert builder.graph.nodes["parity"].inputs == {"a": Link("later", 0)}


def test_the_time_to_build_grows_with_the_nodes_not_their_square(builder: Builder) -> None:
    started = time.process_time()
    handle = builder.Number(value=0)
    for _ in range(10_000):
        handle = builder.Add(a=handle, b=1)
    assert time.process_time() - started < 3
    assert len(builder.graph.nodes) == 10_001
