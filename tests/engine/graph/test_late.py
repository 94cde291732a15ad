"""Lazy branches: what they lack matters once they are asked for; matched types and families."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from latentloom.engine.errors import GraphError, NodeError, Problem
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.lint import lint
from latentloom.engine.node.ports import File, Lazy, Matched
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.engine import fakes
from tests.engine.fakes import graph

LazyValue = Annotated[Any, Matched("value"), Lazy()]


@node("Switch", category="test")
class Switch:
    @staticmethod
    def run(switch: bool, a: LazyValue, b: LazyValue) -> Annotated[Any, Matched("value")]:
        return b if switch else a

    @staticmethod
    def needs(switch: bool, a: Any, b: Any) -> list[str]:
        return ["b" if switch else "a"]


@node("Count", category="test")
def count(path: Annotated[Path, File("input")]) -> int:
    return len(path.read_bytes())


REGISTRY = fakes.REGISTRY | Registry.of(Switch, count)


def switched(switch: Any, missing: tuple[str, dict[str, Any]], **more: Any) -> Graph:
    """Return a graph whose switch may ask for a node that lacks something."""
    return graph(
        good=("Number", {"value": 7}),
        bad=missing,
        below=("Add", {"a": "$bad.0"}),
        switch=("Switch", {"switch": switch, "a": "$good.INT", "b": "$below.INT"}),
        show=("Show", {"value": "$switch.value"}),
        **more,
    )


UNKNOWN = ("NoSuchNode", {"x": 1})
NO_FILE = ("Count", {"path": "missing.txt"})


def problems(graph: Graph) -> tuple[Problem, ...]:
    with Engine(REGISTRY) as engine:
        return engine.check(graph)


@pytest.mark.parametrize("missing", [UNKNOWN, NO_FILE])
def test_what_a_branch_lacks_that_is_not_asked_for_is_a_warning(missing: Any) -> None:
    built = switched(False, missing)
    with Engine(REGISTRY) as engine:
        assert engine.check(built) == ()
        assert engine.run(built).status == "done"
        warnings = lint(built, REGISTRY, _no_files())
    assert [(w.rule, w.node) for w in warnings if w.rule == "lacking"] == [("lacking", "bad")]


def _no_files() -> Any:
    from latentloom.engine.files.workspace import Workspace

    return Workspace()


@pytest.mark.parametrize("missing", [UNKNOWN, NO_FILE])
def test_it_is_an_error_before_the_run_where_the_literals_ask_for_it(missing: Any) -> None:
    (problem,) = problems(switched(True, missing))
    assert problem.node == "bad"


@pytest.mark.parametrize("missing", [UNKNOWN, NO_FILE])
@pytest.mark.parametrize(("value", "status"), [(2, "done"), (3, "failed")])
def test_a_linked_switch_shows_during_the_run_whether_it_is_asked_for(
    missing: Any, value: int, status: str
) -> None:
    choice = ("IsOdd", {"value": value})
    with Engine(REGISTRY) as engine:
        result = engine.run(switched("$choice.BOOLEAN", missing, choice=choice))
    assert result.status == status
    if status == "failed":
        (error,) = result.errors
        assert isinstance(error, NodeError)
        assert error.node == "bad"
        assert "expected a" in str(error)


@pytest.mark.parametrize("missing", [UNKNOWN, NO_FILE])
def test_a_saved_file_says_what_made_it_with_the_branch_that_was_not_asked_for(
    missing: Any,
) -> None:
    from latentloom.engine.execution.manifests import resolved_graph
    from latentloom.engine.graph.validate import prepare

    built = switched(False, missing)
    resolved = resolved_graph(prepare(built, REGISTRY, _no_files()).nodes)
    assert resolved.nodes["bad"].type == missing[0]
    assert problems(resolved) == ()
    if missing is NO_FILE:
        assert resolved.nodes["bad"].inputs == missing[1]


def test_a_wrong_value_in_a_lazy_branch_stays_an_error() -> None:
    (problem,) = problems(switched(False, ("Scale", {"a": 1, "times": 99})))
    assert (problem.node, problem.port) == ("bad", "times")


def test_a_node_that_another_needs_for_certain_is_an_error() -> None:
    built = switched(False, UNKNOWN, other=("Show", {"value": "$bad.0"}))
    assert [problem.kind for problem in problems(built)] == ["unknown_node"]


def test_inputs_of_one_matched_type_must_agree() -> None:
    built = graph(
        tint=("Paint", {}),
        number=("Number", {}),
        switch=("Switch", {"switch": True, "a": "$number.INT", "b": "$tint.TINT"}),
        show=("Show", {"value": "$switch.value"}),
    )
    (problem,) = problems(built)
    assert (problem.kind, problem.port, problem.expected) == ("wrong_type", "b", "INT, as a has")


def test_an_output_of_a_matched_type_has_the_type_of_its_inputs() -> None:
    built = graph(
        tint=("Paint", {}),
        switch=("Switch", {"switch": True, "a": "$tint.TINT", "b": "$tint.TINT"}),
        second=("Switch", {"switch": True, "a": "$switch.value", "b": "$switch.value"}),
        add=("Add", {"a": "$second.value"}),
        show=("Show", {"value": "$add.INT"}),
    )
    (problem,) = problems(built)
    assert (problem.node, problem.got) == ("add", "TINT")


def test_a_family_passes_through_a_switch() -> None:
    def mixed(family: str) -> Graph:
        return graph(
            red=("Paint", {"family": "red"}),
            other=("Paint", {"family": family}),
            blue=("Paint", {"family": "blue"}),
            switch=("Switch", {"switch": True, "a": "$red.TINT", "b": "$other.TINT"}),
            mix=("Mix", {"a": "$switch.value", "b": "$blue.TINT"}),
        )

    assert [problem.kind for problem in problems(mixed("red"))] == ["wrong_family"]
    assert problems(mixed("blue")) == ()


def test_a_missing_input_of_a_switch_is_an_error() -> None:
    built = graph(
        switch=("Switch", {"switch": True, "a": 1}), show=("Show", {"value": "$switch.0"})
    )
    with Engine(REGISTRY) as engine, pytest.raises(GraphError, match=r"\.b: expected"):
        engine.run(built)
