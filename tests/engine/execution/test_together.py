"""Calls of several cells that are computed as one: counted, each under its own key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.sweep import CellResult, Sweep
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.axes import make_axes
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.context import Context
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import Alike, node
from tests.engine.fakes import calls, note, number, show

batches: list[int] = []


@node("Sampler", category="test", device=True)
class Sampler:
    @staticmethod
    def run(*, a: int, seed: int = 0, steps: int = 1, context: Context) -> int:
        note(f"Sampler {a} {seed}")
        if seed < 0:
            raise InputError("seed", "at least 0", seed)
        for _ in range(steps):
            context.count_model_call()
        return a * 100 + seed

    @staticmethod
    def alike(a: int, seed: int, steps: int) -> Alike | None:
        return Alike(steps, 3) if a < 50 else None

    @staticmethod
    def together(calls: Sequence[Mapping[str, Any]], context: Context) -> list[int]:
        batches.append(len(calls))
        return [Sampler.run(**call, context=Context()) for call in calls if _counted(context, call)]


def _counted(context: Context, call: Mapping[str, Any]) -> bool:
    for _ in range(call["steps"] if context.model_calls < call["steps"] else 0):
        context.count_model_call()
    return True


GRAPH = Graph({
    "start": Node("Number", {"value": 5}),
    "first": Node("Sampler", {"a": Link("start", 0), "seed": 1, "steps": 4}),
    "second": Node("Sampler", {"a": Link("start", 0), "seed": 1, "steps": 2}),
    "show": Node("Show", {"value": Link("first", 0)}),
    "also": Node("Show", {"value": Link("second", 0)}),
})  # fmt: skip
REGISTRY = Registry.of(number, show, Sampler)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()
    batches.clear()


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(REGISTRY) as engine:
        yield engine


def sweep_over(
    engine: Engine, folder: Path, over: Mapping[str, Sequence[Any]], graph: Graph = GRAPH
) -> tuple[Sweep, list[CellResult]]:
    sweep = Sweep(engine, Workspace(output_dir=folder), graph, make_axes(over))
    return sweep, [result.without_values() for result in sweep.run()]


def test_alike_calls_are_computed_as_one_up_to_their_limit(engine: Engine, tmp_path: Path) -> None:
    sweep, results = sweep_over(engine, tmp_path, {"first.seed": range(7)})
    assert batches == [3, 3]
    assert [result.state for result in results] == ["ran"] * 7
    gain = sweep.gain
    assert (gain.calls, gain.batches, gain.model_calls) == (6, 2, 8)
    assert gain.separate_model_calls == 24
    # Six in two batches of 4 model calls, one alone with 4, and `second` once with 2.
    assert sum(result.model_calls for result in results) == 8 + 4 + 2
    assert {call for call in calls if call.startswith("Show")} == {
        f"Show {500 + seed}" for seed in range(7)
    }


def test_each_result_is_cached_under_its_own_key(engine: Engine, tmp_path: Path) -> None:
    sweep_over(engine, tmp_path, {"first.seed": [1, 2, 3]})
    values = {}
    for seed in (3, 1, 2):
        graph = GRAPH.set("first.seed", seed)
        values[seed] = engine.run(graph, targets=["first"])["first"]
    assert values == {1: 501, 2: 502, 3: 503}


def test_a_node_below_another_is_computed_together_too(engine: Engine, tmp_path: Path) -> None:
    graph = GRAPH.set("second.a", Link("first", 0)).set("start.value", 0)
    _, results = sweep_over(engine, tmp_path, {"first.seed": [1, 2, 3]}, graph)
    assert [result.state for result in results] == ["ran"] * 3
    assert batches == [3, 3]
    assert sorted(call for call in calls if call.startswith("Show")) == [
        "Show 1", "Show 101", "Show 2", "Show 201", "Show 3", "Show 301",
    ]  # fmt: skip


def test_calls_that_are_not_alike_run_alone(engine: Engine, tmp_path: Path) -> None:
    graph = GRAPH.set("start.value", 60)
    sweep, results = sweep_over(engine, tmp_path, {"first.seed": [1, 2]}, graph)
    assert (batches, sweep.gain.batches) == ([], 0)
    assert [result.state for result in results] == ["ran"] * 2
    sweep_over(engine, tmp_path / "steps", {"first.steps": [1, 2]})
    assert batches == []


def test_a_batch_that_fails_leaves_its_cells_to_themselves(engine: Engine, tmp_path: Path) -> None:
    _, results = sweep_over(engine, tmp_path, {"first.seed": [1, -2, 3]})
    assert batches == [3]
    assert [result.state for result in results] == ["ran", "failed", "ran"]
    assert engine.shared.ready == {}


def test_without_batches_each_cell_runs_alone(engine: Engine, tmp_path: Path) -> None:
    axes = make_axes({"first.seed": [1, 2]})
    sweep = Sweep(engine, Workspace(output_dir=tmp_path), GRAPH, axes, batches=False)
    assert len(list(sweep.run())) == 2
    assert batches == []
