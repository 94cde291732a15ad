"""Sweeps: cells share their work, resume, and run in the order that keeps what they share."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.sweep import Cell, Sweep
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.axes import MAX_CELLS, Axis, make_axes, read_axes
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.cancel import CancelToken
from tests.engine.fakes import REGISTRY, calls

GRAPH = Graph({
    "start": Node("Number", {"value": 5}),
    "middle": Node("Add", {"a": Link("start", 0), "b": 1}),
    "end": Node("Scale", {"a": Link("middle", 0), "times": 2}),
    "show": Node("Show", {"value": Link("end", 0)}),
})  # fmt: skip


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(REGISTRY) as engine:
        yield engine


def make(engine: Engine, folder: Path, *axes: Axis, zipped: bool = False) -> Sweep:
    return Sweep(engine, Workspace(output_dir=folder), GRAPH, axes, zipped)


def axis(target: str, *values: int) -> Axis:
    return Axis(target, values)


def count(name: str) -> int:
    return sum(call.split()[0] == name for call in calls)


def test_what_cells_share_runs_once(engine: Engine, tmp_path: Path) -> None:
    sweep = make(engine, tmp_path, axis("end.times", 1, 2, 3), axis("middle.b", 4, 5))
    results = list(sweep.run())
    assert [result.state for result in results] == ["ran"] * 6
    assert (count("Number"), count("Add"), count("Scale")) == (1, 2, 6)


def test_the_axis_that_changes_most_changes_least_often(engine: Engine, tmp_path: Path) -> None:
    sweep = make(engine, tmp_path, axis("end.times", 1, 2), axis("start.value", 7, 8))
    order = [(cell.values["start.value"], cell.values["end.times"]) for cell in sweep.cells]
    assert order == [("7", "1"), ("7", "2"), ("8", "1"), ("8", "2")]
    assert [cell.index for cell in sweep.cells] == [0, 2, 1, 3]


def test_zipped_axes_move_together(engine: Engine, tmp_path: Path) -> None:
    sweep = make(engine, tmp_path, axis("middle.b", 1, 1), axis("end.times", 3, 4), zipped=True)
    assert [tuple(cell.values.values()) for cell in sweep.cells] == [("1", "3"), ("1", "4")]


def test_a_plan_says_what_sharing_saves(engine: Engine, tmp_path: Path) -> None:
    plan = make(engine, tmp_path, axis("middle.b", 1, 2), axis("end.times", 3, 4)).plan()
    assert (plan.cells, plan.finished, plan.nodes, plan.unshared) == (4, 0, 11, 16)
    assert plan.seconds is None
    assert calls == []


def test_a_sweep_resumes_without_repeating_a_cell(engine: Engine, tmp_path: Path) -> None:
    axes = (axis("middle.b", 1, 2), axis("end.times", 3, 4))
    token = CancelToken()
    for result in make(engine, tmp_path, *axes).run(cancel=token):
        assert result.state == "ran"
        if result.cell.values == {"middle.b": "1", "end.times": "4"}:
            token.cancel()
    calls.clear()
    with Engine(REGISTRY) as fresh:
        sweep = make(fresh, tmp_path, *axes)
        assert sweep.plan().finished == 2
        states = [result.state for result in sweep.run()]
    assert states == ["skipped", "skipped", "ran", "ran"]
    assert count("Scale") == 2


def test_a_failed_cell_stops_nothing(engine: Engine, tmp_path: Path) -> None:
    results = list(make(engine, tmp_path, axis("end.times", 1, 99, 3)).run())
    assert [result.state for result in results] == ["ran", "failed", "ran"]
    assert "99" in str(results[1].errors[0])


def test_a_sweep_holds_what_a_later_cell_can_use(engine: Engine, tmp_path: Path) -> None:
    sweep = make(engine, tmp_path, axis("middle.b", 1, 2), axis("start.value", 7, 8))
    assert [cell.values["start.value"] for cell in sweep.cells] == ["7", "7", "8", "8"]
    # Four nodes of the cell that ran last; the number of two cells is one of them.
    assert [len(engine.cache) for _ in sweep.run()] == [4, 4, 4, 4]
    assert (count("Number"), count("Add")) == (2, 4)
    assert len(engine.cache) == 0


def test_what_was_cached_before_a_sweep_stays(engine: Engine, tmp_path: Path) -> None:
    engine.run(GRAPH)
    list(make(engine, tmp_path, axis("end.times", 2, 3)).run())
    assert len(engine.cache) == len(GRAPH.nodes)
    assert engine.plan(GRAPH).count("run") == 0


def test_equal_values_under_other_keys_are_used_from_the_cell_before(
    engine: Engine, tmp_path: Path
) -> None:
    graph = Graph({
        "start": Node("Number", {"value": 1}),
        "odd": Node("Parity", {"a": Link("start", 0)}),
        "end": Node("Scale", {"a": Link("odd", 0), "times": 2}),
        "show": Node("Show", {"value": Link("end", 0)}),
    })  # fmt: skip
    workspace = Workspace(output_dir=tmp_path)
    results = Sweep(engine, workspace, graph, [axis("start.value", 1, 3, 5, 7)]).run()
    assert len(list(results)) == 4
    assert (count("Parity"), count("Scale")) == (4, 1)


def test_errors_of_a_sweep_hold_no_values(engine: Engine, tmp_path: Path) -> None:
    graph = Graph({
        "start": Node("Number", {"value": 1}),
        "bad": Node("Break", {"a": Link("start", 0)}),
        "show": Node("Show", {"value": Link("bad", 0)}),
    })  # fmt: skip
    workspace = Workspace(output_dir=tmp_path)

    (result,) = Sweep(engine, workspace, graph, [axis("start.value", 1)]).run()
    cause = result.errors[0].__cause__
    assert cause is not None
    assert cause.__traceback__ is not None
    frames = [frame for frame, _ in traceback.walk_tb(cause.__traceback__)]
    assert frames
    assert [frame.f_locals for frame in frames] == [{}] * len(frames)


def test_files_are_named_by_the_values(engine: Engine, tmp_path: Path) -> None:
    sweep = make(engine, tmp_path, axis("middle.b", 1), axis("end.times", 3))
    assert sweep.cells[0].label == "b=1,times=3"
    assert Cell(0, {"middle.b": "1", "start.b": "3"}).label == "middle.b=1,start.b=3"
    assert Cell(0, {"middle.b": "../a b"}).label == "b=..-a-b"


@pytest.mark.parametrize(
    ("axes", "zipped", "expected"),
    [
        ((), False, "at least one axis"),
        ((axis("a.b"),), False, "expected values"),
        ((axis("a.b", 1, 1),), False, "different values"),
        ((axis("a.b", 1), axis("a.b", 2)), False, "different inputs"),
        ((axis("a.b", 1, 2), axis("a.c", 2)), True, "as many values on each axis"),
        ((axis("a.b", *range(200)), axis("a.c", *range(51))), False, f"at most {MAX_CELLS}"),
    ],
)
def test_axes_that_make_no_sweep_are_refused(
    engine: Engine, tmp_path: Path, axes: tuple[Axis, ...], zipped: bool, expected: str
) -> None:
    with pytest.raises(FormatError, match=expected):
        make(engine, tmp_path, *axes, zipped=zipped)


def test_texts_are_replaced_in_a_prompt(engine: Engine, tmp_path: Path) -> None:
    graph = GRAPH.set("show.note_text", " a red house")
    axes = make_axes({"show.note_text:red": ["blue", "grey"], "show.note_text:house": ["barn"]})
    assert [axis.name for axis in axes] == ["show.note_text:red", "show.note_text:house"]
    list(Sweep(engine, Workspace(output_dir=tmp_path), graph, axes).run())
    assert calls[-2:] == ["Show 12 a blue barn", "Show 12 a grey barn"]
    with pytest.raises(FormatError, match="expected text with 'green'"):
        Sweep(engine, Workspace(), graph, make_axes({"show.note_text:green": ["blue"]}))


def test_axes_of_a_file() -> None:
    block = {
        "over": {"denoise": {"from": 0.3, "to": 0.5, "step": 0.1}, "a.seed": {"from": 1, "to": 2}},
        "replace": {"prompt": {"house": ["castle"]}},
    }
    assert [(axis.name, axis.values) for axis in read_axes(block)] == [
        ("denoise", (0.3, 0.4, 0.5)),
        ("a.seed", (1, 2)),
        ("prompt:house", ("castle",)),
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({}, "expected an axis"),
        ({"over": [1]}, "over: expected a mapping"),
        ({"over": {"a": "1:2"}}, "sweep, a: expected a list"),
        ({"over": {"a": []}}, "sweep, a: expected a list"),
        ({"over": {"a": {"from": 1}}}, "expected numbers as from, to and step"),
        ({"over": {"a": {"from": 1, "to": True}}}, "expected numbers"),
        ({"over": {"a": {"from": 1, "to": 2, "by": 1}}}, "expected numbers"),
        ({"over": {"a": {"from": 1, "to": float("inf")}}}, "sweep, a: expected from:to:step"),
        ({"replace": {"a": {"b": [1]}}}, "expected strings"),
        ({"replace": {"a": ["b"]}}, "expected a mapping"),
        ({"over": {"a": [1]}, "zip": 1}, "zip: expected true or false"),
        ({"over": {"a": [1]}, "best": 1}, "best: expected an expression"),
        ({"axes": {}}, "expected over, replace, zip, best"),
    ],
)
def test_what_is_no_sweep_of_a_file_is_refused(block: dict[str, Any], expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        read_axes(block)
