"""Inputs that grow, and inputs that a choice adds: declared once, named for each node."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import pytest

from latentloom.engine.errors import GraphError, SpecError
from latentloom.engine.graph.builder import Builder
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.fitting import every_port
from latentloom.engine.node.ports import Between, Branches, Growing
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import NodeSpec, node, spec_of
from tests.engine.fakes import number, show


class Plain(NamedTuple):
    pass


class Deep(NamedTuple):
    """Values of a depth.

    Args:
        depth: bits of a value.
    """

    depth: Literal["8", "16"] = "8"
    level: Annotated[int, Between(0, 9)] = 3


PLAIN, OTHER = Plain(), Deep(level=4)
Form = Annotated[Plain | Deep, Branches({"plain": Plain, "deep": Deep})]
Numbers = Annotated[dict[str, int], Growing("value", low=1, high=3)]
calls: list[Any] = []


@node("Sum", category="test")
def add_up(values: Numbers) -> int:
    calls.append(values)
    return sum(values.values())


@node("Save", category="test", output=True)
def save(value: int, form: Form = PLAIN) -> None:
    calls.append(form)


REGISTRY = Registry.of(add_up, save, number, show)


def names(spec: NodeSpec) -> list[str]:
    return [port.name for port in spec.inputs]


def run(**nodes: Node) -> list[Any]:
    from latentloom.engine.execution.executor import Engine

    calls.clear()
    with Engine(REGISTRY) as engine:
        assert engine.run(Graph(nodes)).status == "done"
    return list(calls)


def test_a_group_has_the_inputs_that_are_given_and_those_that_are_needed() -> None:
    spec = REGISTRY["Sum"]
    assert names(spec) == ["values"]
    assert names(spec.fitted({})) == ["values.value0"]
    given = {"values.value2": 1, "values.value3": 1, "values.value02": 1}
    assert names(spec.fitted(given)) == ["values.value0", "values.value2"]
    assert names(spec.fitted(given).fitted({})) == ["values.value0"]


def test_a_choice_adds_its_inputs_with_their_declarations() -> None:
    spec = REGISTRY["Save"]
    assert names(spec.fitted({})) == ["value", "form"]
    deep = spec.fitted({"form": "deep"})
    assert names(deep) == ["value", "form", "form.depth", "form.level"]
    depth, level = deep.inputs[2:]
    assert (depth.default, depth.choices, depth.tooltip) == ("8", ("8", "16"), "bits of a value.")
    assert (level.default, level.between) == (3, Between(0, 9))


def test_a_wrong_choice_has_the_inputs_that_the_node_was_given() -> None:
    spec = REGISTRY["Save"].fitted({"form": "Deep", "form.depth": "8"})
    assert "form.depth" in names(spec)


def test_a_declaration_without_such_inputs_is_the_same_for_every_node() -> None:
    spec = spec_of(number)
    assert spec is not None
    assert spec.fitted({"value": 1}) is spec


def test_the_function_gets_a_group_as_a_dict_in_order() -> None:
    inputs = {"values.value2": 4, "values.value0": Link("one", 0)}
    (values, _) = run(one=Node("Number", {"value": 1}), sum=Node("Sum", inputs), save=_saved("sum"))
    assert list(values.items()) == [("value0", 1), ("value2", 4)]


def _saved(origin: str) -> Node:
    return Node("Save", {"value": Link(origin, 0)})


def test_the_function_gets_a_choice_as_its_named_tuple() -> None:
    inputs = {"value": 1, "form": "deep", "form.level": 9}
    assert run(a=Node("Save", inputs), b=Node("Save", {"value": 2})) == [Deep("8", 9), Plain()]


@pytest.mark.parametrize(
    ("inputs", "port", "kind"),
    [
        ({"value": 1, "form": "deep", "form.level": 10}, "form.level", "out_of_range"),
        ({"value": 1, "form": "plain", "form.level": 1}, "form.level", "unknown_input"),
        ({"value": 1, "form": "flat"}, "form", "not_in_list"),
        ({"value": 1, "form": Link("number", 0)}, "form", "linked_choice"),
    ],
)
def test_a_wrong_value_of_a_choice_is_a_problem_of_its_input(
    inputs: dict[str, Any], port: str, kind: str
) -> None:
    from latentloom.engine.execution.executor import Engine

    graph = Graph({"save": Node("Save", inputs), "number": Node("Number")})
    with Engine(REGISTRY) as engine:
        (problem,) = engine.check(graph)
    assert (problem.port, problem.kind) == (port, kind)


def test_a_group_without_its_first_input_is_a_problem() -> None:
    from latentloom.engine.execution.executor import Engine

    graph = Graph({"sum": Node("Sum", {"values.value1": 1}), "save": _saved("sum")})
    with Engine(REGISTRY) as engine:
        (problem,) = engine.check(graph)
    assert (problem.kind, problem.port) == ("missing_input", "values.value0")


def test_a_builder_takes_a_list_for_a_group() -> None:
    builder = Builder(REGISTRY)
    builder.Save(value=builder.Sum(values=[1, builder.Number(value=2)]), form="deep")
    assert builder.graph.nodes["sum"].inputs == {
        "values.value0": 1,
        "values.value1": Link("number", "INT"),
    }
    with pytest.raises(GraphError, match=r"values\.value3"):
        builder.Sum(values=[1, 2, 3, 4])


def test_a_path_finds_an_input_with_dots_in_its_name() -> None:
    graph = Graph({"a.b": Node("Save", {"value": 1, "form": "deep"})})
    assert graph.split("a.b.form.level") == ("a.b", "form.level")
    assert graph.set("a.b.form.level", 4).nodes["a.b"].inputs["form.level"] == 4


def test_every_input_that_a_node_may_have_is_listed() -> None:
    ports = [*every_port(REGISTRY["Sum"].inputs), *every_port(REGISTRY["Save"].inputs)]
    assert [port.name for port in ports] == [
        "values.value0", "values.value1", "values.value2",
        "value", "form", "form.depth", "form.level",
    ]  # fmt: skip


def not_a_dict(values: Annotated[int, Growing("value")]) -> int:
    return values


def one_class(form: Annotated[Deep, Branches({"a": Deep, "b": Deep})]) -> int:
    return 0


def other_default(form: Form = OTHER) -> int:
    return 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_a_dict, "must be a dict"),
        (one_class, "have one class"),
        (other_default, "without arguments"),
    ],
)
def test_a_wrong_declaration_is_refused(function: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        node("Wrong", category="test")(function)
