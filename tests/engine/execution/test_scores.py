"""Scores: numbers that nodes measure, and expressions that rank by them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.scores import Ranking, read_scores, targets_with_scores
from latentloom.engine.graph.graph import Graph, Node
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node, spec_of
from tests.engine.fakes import show

SCORES = {"edges.f1": 0.75, "change.delta_e": 20.0, "10:3.psnr": 30.0}


@node("Measure", category="test", score=True)
def measure(value: float = 0.5) -> float:
    return value if value >= 0 else math.inf


GRAPH = Graph({
    "good": Node("Measure", {"value": 2.5}),
    "endless": Node("Measure", {"value": -1.0}),
    "show": Node("Show", {"value": 1}),
})  # fmt: skip
REGISTRY = Registry(spec for part in (show, measure) if (spec := spec_of(part)) is not None)


def test_nodes_that_measure_run_and_give_finite_numbers() -> None:
    targets = targets_with_scores(GRAPH, REGISTRY)
    assert targets == ("good", "endless", "show")
    with Engine(REGISTRY) as engine:
        result = engine.run(GRAPH, targets=targets)
        assert read_scores(GRAPH, REGISTRY, result) == {"good.FLOAT": 2.5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("edges.f1 - 0.01*change.delta_e", 0.55),
        ("-(edges.f1 + 1) / 2", -0.875),
        ("max(edges.f1, min(2, change.delta_e)) * abs(-3)", 6.0),
        ('"10:3.psnr" / 10', 3.0),
        ("edges.f1 / (change.delta_e - 20)", None),
        ("edges.f1 - other.psnr", None),
        ("1e308 * change.delta_e", None),
    ],
)
def test_value_of_an_expression(text: str, value: float | None) -> None:
    assert Ranking(text).value(SCORES) == (value if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    "text",
    [
        "", "edges.f1 +", "edges.f1 ** 2", "9 ** 9 ** 9", "__import__('os')", "open(1)", "a.b.c",
        "[edges.f1]", "edges.f1 if 1 else 2", "max()", "x", "edges.f1; 2", "lambda: 1", "1 < 2",
        "-" * 499 + "1", "(" * 250 + "1", "1" * 501, "\0", "'a.b'.x",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="--best: expected"):
        Ranking(text)


@given(st.text(alphabet="ab.12*-+/()'\" ,mx", max_size=25))
def test_any_text_has_a_value_or_is_refused(text: str) -> None:
    try:
        value = Ranking(text).value({"a.b": 2.0})
    except FormatError:
        value = None
    assert value is None or math.isfinite(value)


def test_a_score_that_the_graph_does_not_measure_is_refused() -> None:
    Ranking("good.FLOAT - endless.FLOAT").check(GRAPH, REGISTRY)
    with pytest.raises(FormatError, match=r"good\.FLOAT, endless\.FLOAT; got god\.FLOAT; did you"):
        Ranking("god.FLOAT").check(GRAPH, REGISTRY)
