"""The plan says what will run, what is reused, and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from latentloom.engine.cache.generation import ResultDependencies
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.plan import Plan
from latentloom.engine.execution.reasons import (
    Changed,
    Evicted,
    FileChanged,
    NeverRun,
    Unneeded,
    UpstreamChanged,
)
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph
from latentloom.engine.node.registry import Registry
from tests.engine.fakes import PASSES, REGISTRY, graph


def actions(plan: Plan) -> dict[str, str]:
    return {id: step.action for id, step in plan.nodes.items()}


def test_at_first_everything_runs(engine: Engine) -> None:
    plan = engine.plan(PASSES)
    assert actions(plan) == dict.fromkeys(PASSES.nodes, "run")
    assert {step.why for step in plan.nodes.values()} == {NeverRun()}


def test_planning_runs_nothing(engine: Engine, calls: list[str]) -> None:
    engine.plan(PASSES)
    assert calls == []


def test_after_a_run_only_the_output_is_reused(engine: Engine) -> None:
    engine.run(PASSES)
    assert actions(engine.plan(PASSES)) == {
        "start": "skip",
        "pass1": "skip",
        "pass2": "skip",
        "show": "reuse",
    }


def test_steps_that_run_have_the_duration_of_the_last_call(engine: Engine) -> None:
    assert engine.plan(PASSES).seconds is None
    result = engine.run(PASSES)
    plan = engine.plan(PASSES.set("pass2.b", 21))
    took = {id: step.seconds for id, step in plan.nodes.items()}
    assert took == {
        "start": None,
        "pass1": None,
        "pass2": result.nodes["pass2"].seconds,
        "show": result.nodes["show"].seconds,
    }
    assert plan.seconds == sum(result.nodes[id].seconds for id in ("pass2", "show"))


def test_a_changed_number_is_the_reason_with_both_values(engine: Engine) -> None:
    engine.run(PASSES)
    plan = engine.plan(PASSES.set("pass2.b", 21))
    assert actions(plan) == {"start": "skip", "pass1": "reuse", "pass2": "run", "show": "run"}
    assert plan.nodes["pass2"].why == Changed("b", "20", "21")
    assert plan.nodes["show"].why == UpstreamChanged("pass2")


def test_the_reason_compares_with_the_last_run_even_of_nodes_it_skipped(engine: Engine) -> None:
    other = PASSES.set("start.value", 100).set("pass2.b", 5)
    engine.run(PASSES)
    engine.run(other)
    engine.run(PASSES)
    plan = engine.plan(PASSES.set("pass2.b", 21))
    assert plan.nodes["pass2"].why == Changed("b", "20", "21")


def test_ids_titles_and_positions_are_in_no_key(engine: Engine) -> None:
    renamed = Graph(
        {
            "x": PASSES.nodes["start"],
            "y": PASSES.add("pass1", "Add", "A title", a=3, b=10).nodes["pass1"],
        },
        layout={"x": [1, 2]},
    )
    first = engine.plan(PASSES, targets=["start"]).nodes["start"].key
    second = engine.plan(renamed, targets=["x"]).nodes["x"].key
    assert first == second


def test_equal_literals_of_other_types_have_one_key(engine: Engine) -> None:
    keys = {
        engine.plan(graph(b=("Blend", {"a": value})), targets=["b"]).nodes["b"].key
        for value in (1, 1.0)
    }
    assert len(keys) == 1


def test_an_input_left_out_is_its_default(engine: Engine) -> None:
    left_out = engine.plan(graph(b=("Blend", {"a": 1})), targets=["b"]).nodes["b"].key
    given = engine.plan(graph(b=("Blend", {"a": 1, "weight": 0.5})), targets=["b"]).nodes["b"].key
    assert left_out == given


def test_a_link_moved_to_another_output_changes_the_key(engine: Engine) -> None:
    def shows(output: str) -> Graph:
        return graph(h=("Halve", {"a": 5}), show=("Show", {"value": f"$h.{output}"}))

    engine.run(shows("quotient"))
    plan = engine.plan(shows("remainder"))
    assert actions(plan) == {"h": "reuse", "show": "run"}
    assert plan.nodes["show"].why == Changed("value", "$h.0", "$h.1")


@pytest.fixture
def folder(tmp_path: Path) -> Workspace:
    (tmp_path / "note.txt").write_text("one")
    return Workspace(input_dir=tmp_path)


READER = graph(read=("Read", {"path": "note.txt"}))


def test_a_files_content_is_in_the_key(
    engine: Engine, folder: Workspace, tmp_path: Path, calls: list[str]
) -> None:
    engine.run(READER, folder, targets=["read"])
    (tmp_path / "note.txt").write_text("two!")
    plan = engine.plan(READER, folder, targets=["read"])
    assert plan.nodes["read"].why == FileChanged("path", "note.txt")
    assert engine.run(READER, folder, targets=["read"])["read"] == "two!"


def test_a_file_touched_but_not_changed_is_reused(
    engine: Engine, folder: Workspace, tmp_path: Path
) -> None:
    engine.run(READER, folder, targets=["read"])
    os.utime(tmp_path / "note.txt", (1, 1))
    assert actions(engine.plan(READER, folder, targets=["read"])) == {"read": "reuse"}


def test_the_same_content_under_another_name_is_the_same(
    engine: Engine, folder: Workspace, tmp_path: Path
) -> None:
    engine.run(READER, folder, targets=["read"])
    (tmp_path / "copy.txt").write_text("one")
    plan = engine.plan(READER.set("read.path", "copy.txt"), folder, targets=["read"])
    assert actions(plan) == {"read": "reuse"}


def test_what_was_evicted_says_so(calls: list[str]) -> None:
    from tests.engine import fakes

    with fakes.engine(cache_bytes=150) as small:
        small.run(PASSES)
        plan = small.plan(PASSES, targets=["start"])
    assert plan.nodes["start"].why == Evicted()


def test_what_no_output_needs_is_not_run(engine: Engine, calls: list[str]) -> None:
    more = PASSES.add("lone", "Number", value=99).add("odd", "FromAPack")
    assert engine.plan(more).nodes["odd"].why == Unneeded()
    result = engine.run(more)
    assert "Number 99" not in calls
    assert [result.nodes[id].state for id in ("lone", "odd")] == ["skipped", "skipped"]


def test_a_switch_changed_in_the_process_makes_every_node_run_again(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENTLOOM_A_SWITCH", raising=False)
    switches = Registry.of(ResultDependencies(switches=("LATENTLOOM_A_SWITCH",)))
    with Engine(REGISTRY | switches) as engine:
        engine.run(PASSES)
        first = list(calls)
        monkeypatch.setenv("LATENTLOOM_A_SWITCH", "old")
        assert actions(engine.plan(PASSES)) == dict.fromkeys(PASSES.nodes, "run")
        engine.run(PASSES)
        assert calls == first * 2
        monkeypatch.delenv("LATENTLOOM_A_SWITCH")
        engine.run(PASSES)
        assert calls == first * 2
