"""Runs: which nodes are called, in what order and how often, and failures."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latentloom.engine.errors import NodeError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.reasons import (
    AskedFor,
    InputsUnchanged,
    RunsOnlyIfAsked,
    SavedFileMissing,
    Unneeded,
    UpstreamChanged,
    UpstreamFailed,
)
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.engine import fakes
from tests.engine.fakes import FORK, PASSES, graph, until


def test_values_flow_along_the_links(engine: Engine) -> None:
    result = engine.run(PASSES)
    assert (result.status, result["show"], result["pass1"]) == ("done", 33, 13)


def test_a_rerun_calls_nothing(engine: Engine, calls: list[str]) -> None:
    engine.run(PASSES)
    calls.clear()
    result = engine.run(PASSES)
    assert (calls, result["show"]) == ([], 33)
    assert result.nodes["show"].state == "reused"
    assert result.nodes["show"].tier == "memory"


def test_changing_one_number_runs_only_what_is_below(engine: Engine, calls: list[str]) -> None:
    engine.run(PASSES)
    calls.clear()
    engine.run(PASSES.set("pass2.b", 21))
    assert calls == ["Add 13 21", "Show 34"]


def test_going_back_is_free(engine: Engine, calls: list[str]) -> None:
    engine.run(PASSES)
    engine.run(PASSES.set("pass2.b", 21))
    calls.clear()
    assert engine.run(PASSES)["show"] == 33
    assert calls == []


def test_an_unchanged_output_stops_the_wave(engine: Engine, calls: list[str]) -> None:
    odd = graph(
        n=("Number", {"value": 1}),
        parity=("Parity", {"a": "$n.INT"}),
        add=("Add", {"a": "$parity.INT"}),
        show=("Show", {"value": "$add.INT"}),
    )
    engine.run(odd)
    calls.clear()
    result = engine.run(odd.set("n.value", 3))
    assert calls == ["Number 3", "Parity 3"]
    assert [result.nodes[id].state for id in ("add", "show")] == ["reused", "reused"]
    assert result.nodes["add"].why == InputsUnchanged(UpstreamChanged("parity"))
    calls.clear()
    engine.run(odd.set("n.value", 3))
    assert calls == []


def test_two_nodes_that_ask_for_the_same_are_called_once(engine: Engine, calls: list[str]) -> None:
    twins = graph(
        a=("Number", {"value": 7}),
        b=("Number", {"value": 7}),
        x=("Show", {"value": "$a.INT"}),
        y=("Show", {"value": "$b.INT", "note_text": "!"}),
    )
    engine.run(twins)
    assert calls.count("Number 7") == 1


def test_runs_in_two_threads_share_one_call(engine: Engine, calls: list[str]) -> None:
    slow = graph(w=("Wait", {"a": 5}), show=("Show", {"value": "$w.INT"}))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(engine.run, slow) for _ in range(2)]
        until(lambda: "Wait 5 step 0" in calls)
        fakes.gates["gate"].set()
        assert [run.result()["show"] for run in runs] == [5, 5]
    assert calls.count("Wait 5 step 0") == 1


def test_cpu_nodes_overlap_with_a_device_node(engine: Engine, calls: list[str]) -> None:
    both = graph(
        slow=("Wait", {"a": 1}),
        x=("Show", {"value": "$slow.INT"}),
        n=("Number", {"value": 2}),
        y=("Show", {"value": "$n.INT"}),
    )
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.run, both)
        until(lambda: "Show 2" in calls)
        assert not run.done()
        fakes.gates["gate"].set()
        assert run.result().status == "done"


def test_device_nodes_run_one_at_a_time(engine: Engine, calls: list[str]) -> None:
    pair = graph(
        a=("Wait", {"a": 1, "gate": "a"}),
        b=("Wait", {"a": 2, "gate": "b"}),
        x=("Show", {"value": "$a.INT"}),
        y=("Show", {"value": "$b.INT"}),
    )
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.run, pair)
        until(lambda: len(calls) == 1)
        time.sleep(0.02)
        assert len(calls) == 1
        for gate in ("a", "b"):
            fakes.gates.setdefault(gate, threading.Event()).set()
        assert run.result().status == "done"


def test_a_failure_stops_only_what_depends_on_it(engine: Engine) -> None:
    result = engine.run(FORK)
    states = {id: report.state for id, report in result.nodes.items()}
    assert result.status == "failed"
    assert states == {
        "n": "ran",
        "bad": "failed",
        "below": "skipped",
        "lost": "skipped",
        "fine": "ran",
    }
    assert result.nodes["lost"].why == UpstreamFailed("below")


def test_a_failure_names_the_node_and_its_inputs(engine: Engine) -> None:
    (error,) = engine.run(FORK).errors
    assert isinstance(error, NodeError)
    assert str(error) == "Break (bad) failed: RuntimeError: broken by 2\n  inputs:  a=2"
    assert isinstance(error.__cause__, RuntimeError)


def test_the_engine_is_usable_after_a_failure(engine: Engine) -> None:
    engine.run(FORK)
    assert engine.run(PASSES).status == "done"
    assert engine.shared.in_flight == {}


def test_a_failure_is_not_cached(engine: Engine) -> None:
    engine.run(FORK)
    assert engine.plan(FORK).nodes["bad"].action == "run"


def test_a_lack_of_memory_says_how_much_and_what_to_do() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**59, dtype=torch.uint8)
    error = NodeError("e", "EmptyImage", {"width": "9"}, raised.value)
    assert str(error).startswith(
        "EmptyImage (e) failed: not enough memory: tried to allocate 5.37e+08 GiB; use a "
    )


def test_a_linked_value_out_of_range_fails_before_the_node_runs(
    engine: Engine, calls: list[str]
) -> None:
    result = engine.run(
        graph(n=("Number", {"value": 5}), b=("Blend", {"a": 1.0, "weight": "$n.INT"})),
        targets=["b"],
    )
    assert "Blend (b) .weight: expected a number from 0 to 1, got 5.0" in str(result.errors[0])
    assert calls == ["Number 5"]


def test_only_the_lazy_input_that_is_asked_for_is_computed(
    engine: Engine, calls: list[str]
) -> None:
    choice = graph(
        a=("Number", {"value": 1}),
        b0=("Number", {"value": 2}),
        b=("Add", {"a": "$b0.INT"}),
        pick=("Pick", {"first": False, "a": "$a.INT", "b": "$b.INT"}),
        show=("Show", {"value": "$pick.INT"}),
    )
    result = engine.run(choice)
    assert calls == ["Number 2", "Add 2 1", "Pick False", "Show 3"]
    assert result.nodes["a"].state == "skipped"
    calls.clear()
    assert engine.run(choice.set("pick.first", True))["show"] == 1
    assert calls == ["Number 1", "Pick True", "Show 1"]


def test_a_plan_says_what_a_lazy_input_may_ask_for(engine: Engine) -> None:
    choice = graph(
        a=("Number", {"value": 1}),
        b0=("Number", {"value": 2}),
        b=("Add", {"a": "$b0.INT"}),
        other=("Number", {"value": 3}),
        pick=("Pick", {"first": False, "a": "$a.INT", "b": "$b.INT"}),
    )
    why = {id: step.why for id, step in engine.plan(choice, targets=["pick"]).nodes.items()}
    assert why["a"] == why["b"] == why["b0"] == RunsOnlyIfAsked("pick")
    assert why["other"] == Unneeded()


def test_a_lazy_input_that_failed_already_skips_what_asks_for_it(engine: Engine) -> None:
    choice = graph(
        bad=("Break", {"a": 1}),
        lost=("Show", {"value": "$bad.INT"}),
        n=("Number", {"value": 0}),
        first=("Add", {"a": "$n.INT"}),
        pick=("Pick", {"first": True, "a": "$bad.INT", "b": "$first.INT"}),
        show=("Show", {"value": "$pick.INT"}),
    )
    result = engine.run(choice)
    assert result.status == "failed"
    assert result.nodes["pick"].why == UpstreamFailed("bad")
    assert result.nodes["show"].why == UpstreamFailed("pick")
    assert len(result.errors) == 1


def test_outputs_that_a_lazy_input_may_need_late_stay(engine: Engine, calls: list[str]) -> None:
    late = graph(
        n=("Number", {"value": 2}),
        early=("Show", {"value": "$n.INT"}),
        a=("Number", {"value": 0}),
        b=("Add", {"a": "$n.INT"}),
        slow1=("Parity", {"a": "$n.INT"}),
        slow2=("Add", {"a": "$slow1.INT", "b": 0}),
        first=("IsOdd", {"value": "$slow2.INT"}),
        pick=("Pick", {"first": "$first.BOOLEAN", "a": "$a.INT", "b": "$b.INT"}),
        show=("Show", {"value": "$pick.INT", "note_text": "!"}),
    )
    result = engine.run(late)
    assert result["show"] == 3
    assert result.nodes["b"].why == AskedFor("pick")


def test_changing_the_lazy_input_that_is_not_used_calls_nothing(
    engine: Engine, calls: list[str]
) -> None:
    choice = graph(
        a=("Number", {"value": 1}),
        b=("Number", {"value": 2}),
        pick=("Pick", {"first": True, "a": "$a.INT", "b": "$b.INT"}),
        show=("Show", {"value": "$pick.INT"}),
    )
    engine.run(choice)
    calls.clear()
    engine.run(choice.set("b.value", 5))
    assert calls == []


def test_model_calls_are_counted(engine: Engine) -> None:
    fakes.gates["gate"] = threading.Event()
    fakes.gates["gate"].set()
    waiting = graph(w=("Wait", {"a": 1, "steps": 4}))
    assert engine.run(waiting, targets=["w"]).model_calls == 4
    assert engine.run(waiting, targets=["w"]).model_calls == 0


@node("Write", category="test", output=True)
def write(text: str, context: Context) -> Saved:
    fakes.note(f"Write {text}")
    path = context.output_dir / f"{text}.txt"
    path.write_text(text)
    return Saved((path,))


def test_a_saved_file_is_reported_again_and_written_again_once_gone(
    tmp_path: Path, calls: list[str]
) -> None:
    workspace, saver = Workspace(output_dir=tmp_path), graph(w=("Write", {"text": "a"}))
    with Engine(Registry.of(write)) as engine:
        engine.run(saver, workspace)
        again = engine.run(saver, workspace)
        assert (again.nodes["w"].state, again.saved) == ("reused", (("w", tmp_path / "a.txt"),))
        (tmp_path / "a.txt").unlink()
        assert engine.plan(saver, workspace).nodes["w"].why == SavedFileMissing()
        assert engine.run(saver, workspace).nodes["w"].state == "ran"
    assert calls == ["Write a", "Write a"]


def test_another_output_folder_saves_again(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "b").mkdir()
    saver = graph(w=("Write", {"text": "a"}))
    with Engine(Registry.of(write)) as engine:
        engine.run(saver, Workspace(output_dir=tmp_path))
        engine.run(saver, Workspace(output_dir=tmp_path / "b"))
    assert (tmp_path / "b" / "a.txt").exists()


def chain(length: int) -> Graph:
    nodes = {"n0": Node("Number", {"value": 0})}
    for index in range(1, length):
        nodes[f"n{index}"] = Node("Add", {"a": Link(f"n{index - 1}", "INT")})
    return Graph({**nodes, "show": Node("Show", {"value": Link(f"n{length - 1}", "INT")})})


def test_a_chain_of_ten_thousand_nodes_runs(engine: Engine) -> None:
    long = chain(10_000)
    assert engine.run(long)["show"] == 9999
    assert engine.run(long).nodes["show"].state == "reused"


def test_a_fan_of_ten_thousand_nodes_runs(engine: Engine, calls: list[str]) -> None:
    shows = {
        f"s{index}": Node("Show", {"value": Link("n", "INT"), "note_text": str(index)})
        for index in range(10_000)
    }
    engine.run(Graph({"n": Node("Number", {"value": 0}), **shows}))
    assert len(calls) == 10_001


def test_a_failure_at_the_top_of_a_long_chain_skips_it_all(engine: Engine) -> None:
    nodes = dict(chain(10_000).nodes)
    nodes["n0"] = Node("Break", {"a": 1})
    result = engine.run(Graph(nodes))
    assert result.nodes["show"].state == "skipped"


def test_outputs_that_no_node_will_read_are_released() -> None:
    with fakes.engine(cache_bytes=0) as engine:
        result = engine.run(PASSES)
        assert result["show"] == 33
        with pytest.raises(KeyError, match="run with it among the targets"):
            result["pass1"]
        assert engine.run(PASSES, targets=["pass1", "show"])["pass1"] == 13
