"""Every problem at once, with its node, its input, what was expected and given."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine import errors
from latentloom.engine.errors import GraphError, InputError, Problem
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Node
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import Unavailable, node
from tests.engine import fakes
from tests.engine.fakes import graph


def problems(graph: Graph) -> tuple[Problem, ...]:
    with fakes.engine() as engine:
        return engine.check(graph)


def only(graph: Graph) -> Problem:
    (problem,) = problems(graph)
    return problem


def blended(**inputs: Any) -> Graph:
    return graph(blend=("Blend", inputs), show=("Show", {"value": 1}))


def test_a_good_graph_has_no_problems() -> None:
    assert problems(blended(a=1.0, weight=1, mode="max")) == ()


def test_all_problems_are_found_in_one_pass() -> None:
    bad = graph(
        a=("Blnd", {}),
        b=("Blend", {"a": 1, "weight": 2.0, "mode": "min", "extra": 1}),
        c=("Add", {"b": "$nowhere.INT"}),
        d=("Show", {"value": "$e.FLOAT"}),
        e=("Blend", {"a": "text"}),
        f=("Show", {"value": "$a.FLOAT"}),
    )
    kinds = sorted(problem.kind for problem in problems(bad))
    assert kinds == sorted(
        [
            "unknown_node",
            "out_of_range",
            "not_in_list",
            "unknown_input",
            "missing_input",
            "dangling_link",
            "wrong_type",
            "wrong_type",
        ]
    )


def test_an_unknown_node_has_near_names() -> None:
    problem = only(graph(a=("Blnd", {}), show=("Show", {"value": "$a.FLOAT"})))
    assert (problem.kind, problem.node) == ("unknown_node", "a")
    assert "Blend" in problem.hint


@pytest.mark.parametrize(
    ("inputs", "hint"),
    [
        ({"value": 1, "noted_text": ""}, "did you mean 'note_text'?"),
        ({"value": 1, "colour": ""}, ""),
        ({"value": "$strat.INT"}, "did you mean 'start'?"),
        ({"value": "$half.quotent"}, "did you mean 'quotient'?"),
        ({"value": InputRef("widht")}, "did you mean 'width'?"),
    ],
)
def test_a_misspelt_name_has_the_nearest_as_a_hint(inputs: dict[str, Any], hint: str) -> None:
    nodes = graph(start=("Number", {}), half=("Halve", {"a": 1}), show=("Show", inputs)).nodes
    assert only(Graph(nodes, {"width": GraphInput("int", 1)})).hint == hint


def test_an_input_that_must_be_linked_says_to_what() -> None:
    problem = problems(graph(mix=("Mix", {})))[0]
    assert (problem.port, problem.hint) == ("a", "link it to an output of type TINT")


def test_a_node_of_another_pack_is_like_no_other() -> None:
    problem = only(graph(a=("Efficient Number", {}), show=("Show", {"value": "$a.INT"})))
    assert problem.hint == "install the pack it comes from"


def test_where_the_last_node_is_unknown_no_other_output_is_missed() -> None:
    assert only(graph(a=("Number", {}), show=("Shw", {"value": "$a.INT"}))).kind == "unknown_node"


def test_a_missing_input_is_named() -> None:
    problem = only(blended())
    assert (problem.kind, problem.node, problem.port) == ("missing_input", "blend", "a")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.01, 1.01, 10**400])
def test_a_number_out_of_range_is_refused(value: float) -> None:
    problem = only(blended(a=1.0, weight=value))
    assert (problem.kind, problem.port) == ("out_of_range", "weight")


@pytest.mark.parametrize("value", [True, "1", None, [1], {"a": 1}])
def test_what_is_no_number_is_refused(value: Any) -> None:
    problem = only(blended(a=value))
    assert (problem.kind, problem.port, problem.expected) == ("wrong_type", "a", "a number")


@pytest.mark.parametrize("value", [1.5, True, "1", math.inf, math.nan])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    problem = only(graph(show=("Show", {"value": value})))
    assert (problem.port, problem.kind) == ("value", "wrong_type")


def test_half_a_surrogate_pair_is_no_text() -> None:
    problem = only(graph(show=("Show", {"value": 1, "note_text": "a\ud800"})))
    assert (problem.port, problem.expected) == ("note_text", "valid Unicode")
    assert problem.got == "'a\\ud800'"


def test_a_choice_that_is_not_in_the_list_names_the_list_and_the_nearest() -> None:
    problem = only(blended(a=1.0, mode="maxx"))
    assert problem.expected == "one of mean, max"
    assert problem.hint == "did you mean 'max'?"


def test_a_cycle_names_its_nodes_in_order() -> None:
    ring = graph(
        a=("Add", {"a": "$c.INT"}),
        b=("Add", {"a": "$a.INT"}),
        c=("Add", {"a": "$b.INT"}),
        show=("Show", {"value": "$c.INT"}),
    )
    problem = only(ring)
    assert problem.kind == "cycle"
    assert problem.got in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")


def test_a_node_linked_to_itself_is_a_cycle() -> None:
    assert only(graph(show=("Show", {"value": "$show.INT"}))).got == "show -> show"


def test_a_link_to_no_such_output_lists_the_outputs() -> None:
    problem = only(graph(a=("Halve", {"a": 5}), show=("Show", {"value": "$a.rest"})))
    assert problem.kind == "dangling_link"
    assert "quotient, remainder" in problem.expected


def test_a_type_mismatch_names_both_types_and_the_maker() -> None:
    problem = only(graph(a=("Paint", {}), show=("Show", {"value": "$a.TINT"})))
    assert (problem.expected, problem.got, problem.source) == ("INT", "TINT", "Paint (a)")


def test_an_edge_type_has_no_literal() -> None:
    problem = problems(graph(mix=("Mix", {"a": 1, "b": "red"})))[0]
    assert problem.expected == "a link to an output of type TINT"


def test_a_graph_without_outputs_says_so() -> None:
    assert only(graph(a=("Number", {}))).kind == "no_output"


def test_an_empty_graph_says_so() -> None:
    assert only(Graph()).kind == "no_output"


def test_two_families_on_one_node_are_refused_with_both_named() -> None:
    problem = only(
        graph(
            red=("Paint", {"family": "red"}),
            blue=("Paint", {"family": "blue"}),
            mix=("Mix", {"a": "$red.TINT", "b": "$blue.TINT"}),
        )
    )
    assert problem.kind == "wrong_family"
    assert "family red (as a from Paint (red))" in problem.expected
    assert (problem.got, problem.source) == ("family blue", "Paint (blue)")


def tint(**nodes: tuple[str, dict[str, Any]]) -> Graph:
    made = {"red": ("Paint", {"family": "red"}), "blue": ("Paint", {"family": "blue"})}
    return graph(**made, **nodes)


def test_a_file_of_another_family_than_all_inputs_is_one_mistake() -> None:
    problem = only(
        tint(
            stain=("Stain", {"a": "$red.TINT", "b": "$red.TINT", "family": "blue"}),
            mix=("Mix", {"a": "$stain.TINT", "b": "$red.TINT"}),
        )
    )
    assert (problem.node, problem.port, problem.kind) == ("stain", "family", "wrong_family")
    assert problem.expected == "family red (as a from Paint (red))"
    assert problem.got == "'blue', of family blue"


def test_a_mistake_downstream_of_a_file_of_another_family_is_reported_too() -> None:
    mistakes = problems(
        tint(
            stain=("Stain", {"a": "$red.TINT", "b": "$red.TINT", "family": "blue"}),
            mix=("Mix", {"a": "$stain.TINT", "b": "$blue.TINT"}),
        )
    )
    assert [(problem.node, problem.port) for problem in mistakes] == [
        ("stain", "family"),
        ("mix", "b"),
    ]


def test_where_one_input_is_of_the_files_family_the_other_is_wrong() -> None:
    problem = only(tint(stain=("Stain", {"a": "$red.TINT", "b": "$blue.TINT", "family": "blue"})))
    assert (problem.node, problem.port, problem.got) == ("stain", "a", "family red")


def test_one_family_is_fine() -> None:
    same = graph(red=("Paint", {}), mix=("Mix", {"a": "$red.TINT", "b": "$red.TINT"}))
    assert problems(same) == ()


def test_a_wrong_value_of_a_graph_input_is_told_once() -> None:
    weights = {
        f"b{index}": Node("Blend", {"a": 1.0, "weight": InputRef("w")}) for index in range(3)
    }
    show = {"show": Node("Show", {"value": 1})}
    bounded = Graph({**weights, **show}, {"w": GraphInput("float", 7, min=0, max=1)})
    assert only(bounded).node == "inputs"
    problem = only(Graph({**weights, **show}, {"w": GraphInput("float", 7)}))
    assert (problem.node, problem.port) == ("b0", "weight")
    assert problem.source == "the graph's input w"


def test_a_graph_input_whose_range_holds_nothing_says_so() -> None:
    problem = only(Graph({"show": Node("Show", {"value": 1})}, {"n": GraphInput("int", 3, 10, 1)}))
    assert (problem.expected, problem.got) == ("a min of at most the max", "10 to 1")


def test_a_file_that_a_graph_input_names_is_missed_once() -> None:
    reads = {f"r{index}": Node("Read", {"path": InputRef("photo")}) for index in range(3)}
    show = {"show": Node("Show", {"value": 1})}
    problem = only(Graph({**reads, **show}, {"photo": GraphInput("image", "missing.png")}))
    assert (problem.kind, problem.source) == ("file", "the graph's input photo")


def test_inputs_are_checked_against_their_range_and_use() -> None:
    graph = Graph(
        {
            "show": Node("Show", {"value": InputRef("n")}),
            "lost": Node("Show", {"value": InputRef("m")}),
        },
        {"n": GraphInput("int", 11, min=0, max=10), "odd": GraphInput("colour", 1)},
    )
    assert sorted(problem.kind for problem in problems(graph)) == [
        "out_of_range",
        "unknown_input",
        "unknown_type",
    ]


def test_a_run_needs_only_what_its_targets_need(engine: Engine) -> None:
    half = graph(unknown=("FromAPack", {}), show=("Show", {"value": 1}))
    assert engine.run(half).status == "done"
    with pytest.raises(GraphError, match="FromAPack"):
        engine.run(half, targets=["unknown"])


def test_an_unknown_target_is_refused(engine: Engine) -> None:
    with pytest.raises(GraphError, match="nowhere"):
        engine.run(blended(a=1.0), targets=["nowhere"])


@node("Picky", category="test", output=True)
class Picky:
    @staticmethod
    def run(width: int) -> None:
        return None

    @staticmethod
    def check(width: int) -> None:
        if width % 8:
            raise InputError("width", "a multiple of 8", width, "round it")


def test_a_nodes_own_check_is_asked() -> None:
    registry = Registry.of(Picky)
    with Engine(registry) as engine:
        (problem,) = engine.check(graph(p=("Picky", {"width": 7})))
    assert (problem.node, problem.port, problem.expected, problem.got, problem.hint) == (
        "p",
        "width",
        "a multiple of 8",
        "7",
        "round it",
    )


def test_the_message_has_place_wanted_got_and_hint() -> None:
    text = str(only(blended(a=1.0, mode="maxx")))
    assert text == (
        "Blend (blend) .mode: expected one of mean, max, got 'maxx'\n  try:     did you mean 'max'?"
    )


types = st.sampled_from([*fakes.REGISTRY, "Nothing"])
inputs = st.dictionaries(
    st.sampled_from(["a", "b", "value", "weight", "mode", "first", "family", "path", "zzz"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.builds(lambda id, output: f"${id}.{output}", st.sampled_from("pqrs"),
                st.sampled_from(["INT", "TINT", "0", "9", "quotient"])),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("pqrs"), st.tuples(types, inputs)))
def test_any_graph_is_checked_without_an_exception(nodes: dict[str, tuple[str, Any]]) -> None:
    assert isinstance(problems(graph(**nodes)), tuple)


class LeftAndRight(NamedTuple):
    LEFT: int
    RIGHT: int


@node("OneHanded", category="test")
class OneHanded:
    @staticmethod
    def run(side: Literal["both", "left"] = "both") -> LeftAndRight:
        return LeftAndRight(1, len(side))

    @staticmethod
    def unavailable(side: str) -> Mapping[str, Unavailable]:
        return {} if side == "both" else {"RIGHT": Unavailable("it is left-handed", "take both")}


@pytest.mark.parametrize(
    ("side", "output", "count"), [("left", 0, 0), ("left", 1, 1), ("both", 1, 0)]
)
def test_an_output_without_a_value_is_reported_where_it_is_used(
    side: str, output: int, count: int
) -> None:
    names = ("LEFT", "RIGHT")
    wired = graph(
        hands=("OneHanded", {"side": side}), show=("Show", {"value": f"$hands.{names[output]}"})
    )
    with Engine(fakes.REGISTRY | Registry.of(OneHanded)) as engine:
        problems = engine.check(wired)
    assert len(problems) == count
    assert {(problem.kind, problem.node, problem.got, problem.hint) for problem in problems} <= {
        ("absent", "show", "nothing: it is left-handed", "take both")
    }


def test_the_work_of_suggestions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def compare(name: str, known: list[str], n: int, cutoff: float) -> list[str]:
        compared.append(len(name) * sum(map(len, known)))
        return []

    monkeypatch.setattr(difflib, "get_close_matches", compare)
    monkeypatch.setattr(errors, "MAX_COMPARED_PAIRS", 1_000_000)
    missing = {"a": f"${'x' * 78}.INT", "b": f"${'y' * 78}.INT"}
    reported = problems(graph(**{f"{i:03}".rjust(78, "n"): ("Add", missing) for i in range(20)}))
    assert len([problem for problem in reported if problem.kind == "dangling_link"]) == 40
    assert 0 < len(compared) < 40
    assert sum(compared) <= 1_000_000
