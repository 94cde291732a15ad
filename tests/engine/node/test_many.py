"""Lists on edges: what takes one value of a list runs once for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.errors import NodeError
from latentloom.engine.execution.events import Progress
from latentloom.engine.execution.executor import Engine
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.many import Many
from latentloom.engine.node.ports import Between, Lazy
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node, spec_of
from tests.engine import fakes
from tests.engine.fakes import graph, note


@node("Count", category="test")
def count(to: int = 3) -> list[int]:
    return [*range(to)]


class CutResult(NamedTuple):
    parts: list[int]
    amount: int


@node("Cut", category="test")
def cut(values: list[int], size: int = 2) -> CutResult:
    note(f"Cut {values} {size}")
    return CutResult(
        [sum(values[at : at + size]) for at in range(0, len(values), size)], len(values)
    )


@node("Small", category="test")
def small(a: Annotated[int, Between(0, 1)]) -> int:
    return a


@node("Keep", category="test", output=True)
def keep(value: int, context: Context) -> Saved:
    for step in range(2):
        context.progress(step + 1, 2)
    return Saved((Path(__file__),), f"saved {value}")


@node("Either", category="test")
class Either:
    @staticmethod
    def run(
        first: int, a: Annotated[int, Lazy()] | None = None, b: Annotated[int, Lazy()] | None = None
    ) -> int:
        value = a if first else b
        assert value is not None
        return value

    @staticmethod
    def needs(first: int, a: int | None, b: int | None) -> list[str]:
        return ["a" if first else "b"]


REGISTRY = Registry.of(
    count, cut, small, keep, Either, fakes.number, fakes.add, fakes.halve, fakes.break_
)


@pytest.fixture
def lists() -> Any:
    with Engine(REGISTRY) as made:
        yield made


def test_the_annotation_says_what_is_a_list() -> None:
    spec = spec_of(cut)
    assert spec is not None
    assert [(port.name, port.type, port.many) for port in spec.inputs] == [
        ("values", "INT", True),
        ("size", "INT", False),
    ]
    assert [(output.name, output.type, output.many) for output in spec.outputs] == [
        ("parts", "INT", True),
        ("amount", "INT", False),
    ]


def test_a_node_runs_once_for_each_and_gives_a_list_in_turn(
    lists: Engine, calls: list[str]
) -> None:
    listing = graph(
        n=("Count", {"to": 3}),
        add=("Add", {"a": "$n.INT", "b": 10}),
        half=("Halve", {"a": "$add.INT"}),
        more=("Add", {"a": "$half.quotient", "b": "$half.remainder"}),
    )
    result = lists.run(listing, targets=["more"])
    assert calls == [
        *("Add 0 10", "Add 1 10", "Add 2 10"),
        *("Halve 10", "Halve 11", "Halve 12"),
        *("Add 5 0", "Add 5 1", "Add 6 0"),
    ]
    assert result["more"] == (5, 6, 6)


def test_a_rerun_of_a_list_calls_nothing(lists: Engine, calls: list[str]) -> None:
    listing = graph(n=("Count", {}), add=("Add", {"a": "$n.INT", "b": 10}))
    lists.run(listing, targets=["add"])
    calls.clear()
    assert lists.run(listing, targets=["add"])["add"] == (10, 11, 12)
    assert calls == []


def test_a_list_input_takes_all_at_once_and_one_value_as_a_list_of_one(
    lists: Engine, calls: list[str]
) -> None:
    both = graph(
        n=("Count", {"to": 5}),
        cut=("Cut", {"values": "$n.INT"}),
        again=("Cut", {"values": "$cut.parts", "size": 9}),
        one=("Number", {"value": 4}),
        alone=("Cut", {"values": "$one.INT"}),
    )
    result = lists.run(both, targets=["again", "alone"])
    cuts = sorted(call for call in calls if call.startswith("Cut"))
    assert cuts == ["Cut [0, 1, 2, 3, 4] 2", "Cut [1, 5, 4] 9", "Cut [4] 2"]
    assert (result["again"].parts, result["again"].amount) == ((10,), 3)
    assert result["alone"] == ((4,), 1)


def test_a_number_written_in_the_graph_is_a_list_of_one(lists: Engine) -> None:
    assert lists.run(graph(cut=("Cut", {"values": 6})), targets=["cut"])["cut"] == ((6,), 1)


@given(long=st.integers(0, 6), short=st.integers(0, 6))
def test_the_shorter_list_stays_at_its_last_value(long: int, short: int) -> None:
    pair = graph(
        n=("Count", {"to": long}),
        m=("Count", {"to": short}),
        add=("Add", {"a": "$n.INT", "b": "$m.INT"}),
    )
    with Engine(REGISTRY) as engine:
        result = engine.run(pair, targets=["add"])["add"]
    count = max(long, short) if long and short else 0
    assert result == tuple(min(k, long - 1) + min(k, short - 1) for k in range(count))


def test_lists_that_a_node_gives_several_times_are_joined(lists: Engine) -> None:
    sizes = graph(
        n=("Count", {"to": 4}),
        one=("Number", {"value": 1}),
        more=("Add", {"a": "$n.INT", "b": 1}),
        cut=("Cut", {"values": "$one.INT", "size": "$more.INT"}),
    )
    result = lists.run(sizes, targets=["cut"])["cut"]
    assert (result.parts, result.amount) == ((1, 1, 1, 1), (1, 1, 1, 1))
    assert isinstance(result.parts, Many)


def test_what_the_calls_saved_is_one_result_and_their_steps_count_on(lists: Engine) -> None:
    seen: list[tuple[int, int]] = []

    def on_event(event: object) -> None:
        if isinstance(event, Progress):
            seen.append((event.step, event.total))

    saved = graph(n=("Count", {"to": 3}), keep=("Keep", {"value": "$n.INT"}))
    result = lists.run(saved, on_event=on_event)
    assert result["keep"] == Saved((Path(__file__),) * 3, "saved 0\nsaved 1\nsaved 2")
    assert [path for _, path in result.saved] == [Path(__file__)] * 3
    assert seen == [(step, 6) for step in range(1, 7)]


def test_nothing_in_a_list_saves_nothing(lists: Engine) -> None:
    none = graph(n=("Count", {"to": 0}), keep=("Keep", {"value": "$n.INT"}))
    result = lists.run(none)
    assert (result.status, result.saved) == ("done", ())


def test_each_value_must_lie_in_the_range_of_the_input(lists: Engine) -> None:
    width = graph(n=("Count", {"to": 3}), small=("Small", {"a": "$n.INT"}))
    (error,) = lists.run(width, targets=["small"]).errors
    assert isinstance(error, NodeError)
    assert "from 0 to 1, got 2" in str(error)


def test_an_error_shows_the_values_of_the_call_that_failed(lists: Engine) -> None:
    broken = graph(n=("Count", {"to": 2}), bad=("Break", {"a": "$n.INT"}))
    (error,) = lists.run(broken, targets=["bad"]).errors
    assert isinstance(error, NodeError)
    assert (error.inputs, "broken by 0" in str(error)) == ({"a": "0"}, True)


def test_lazy_inputs_are_asked_for_by_any_of_the_calls(lists: Engine, calls: list[str]) -> None:
    either = graph(
        n=("Count", {"to": 2}),
        a=("Number", {"value": 7}),
        b=("Number", {"value": 8}),
        pick=("Either", {"first": "$n.INT", "a": "$a.INT", "b": "$b.INT"}),
    )
    assert lists.run(either, targets=["pick"])["pick"] == (8, 7)
    assert sorted(calls) == ["Number 7", "Number 8"]
