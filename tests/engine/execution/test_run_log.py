"""The run log: a new process knows what the nodes of a graph last ran with."""

from __future__ import annotations

from pathlib import Path

from latentloom.engine.execution.reasons import Changed, NeverRun
from latentloom.engine.graph.graph import Graph
from tests.engine.cache.test_tiers import process
from tests.engine.fakes import PASSES


def test_each_graph_has_its_own_run_log(tmp_path: Path) -> None:
    first = Graph(PASSES.nodes, title="first")
    second = Graph(PASSES.set("pass1.b", 99).nodes, title="second")
    with process(tmp_path) as engine:
        engine.run(first)
    with process(tmp_path) as engine:
        assert engine.plan(second).nodes["pass1"].why == NeverRun()
    with process(tmp_path) as engine:
        again = Graph(second.nodes, title="first")
        assert engine.plan(again).nodes["pass1"].why == Changed("b", "10", "99")


def test_a_corrupt_run_log_is_ignored(tmp_path: Path) -> None:
    with process(tmp_path) as engine:
        engine.run(PASSES)
    for text in ('{"pass2": {"type": 1}}', "[]", "{", '{"pass2": 3}'):
        for file in (tmp_path / "history").iterdir():
            file.write_text(text)
        with process(tmp_path) as engine:
            plan = engine.plan(PASSES.set("pass2.b", 1))
            assert plan.nodes["pass2"].why == NeverRun()
