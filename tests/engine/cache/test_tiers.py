"""Runs with a disk cache: nothing is computed again tomorrow, and plans say why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from latentloom.engine.cache.disk import Store
from latentloom.engine.execution.events import Reused
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.reasons import (
    Changed,
    NoConsumerRuns,
    NotStored,
    StoredEntryCorrupt,
    Unchanged,
    UpstreamChanged,
)
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.node.context import Context, Saved
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.engine import fakes
from tests.engine.fakes import PASSES, graph, note
from tests.engine.node.test_many import count

ODD = graph(
    n=("Number", {"value": 1}),
    parity=("Parity", {"a": "$n.INT"}),
    add=("Add", {"a": "$parity.INT"}),
    show=("Show", {"value": "$add.INT"}),
)


@node("Write", category="test", output=True)
def write(value: int, context: Context) -> Saved:
    note(f"Write {value}")
    path = context.output_dir / f"{value}.txt"
    path.write_text(str(value))
    return Saved((path,), f"wrote {value}")


@node("Weigh", category="test")
def weigh(value: int) -> int:
    """Quick, and not stored."""
    note(f"Weigh {value}")
    return value


REGISTRY = fakes.REGISTRY | Registry.of(write, weigh, count)


@contextmanager
def process(folder: Path, generation: str = "any", min_seconds: float = 0.0) -> Iterator[Engine]:
    """Yield an engine that knows only what is on disk."""
    with Engine(REGISTRY, store=Store(folder, generation, min_seconds=min_seconds)) as made:
        yield made
    fakes.calls.clear()


def test_tomorrow_nothing_is_computed_again(tmp_path: Path, calls: list[str]) -> None:
    with process(tmp_path) as engine:
        engine.run(PASSES)
    with process(tmp_path) as engine:
        plan = engine.plan(PASSES)
        assert [(step.action, step.tier) for step in plan.nodes.values()] == [
            ("skip", None), ("skip", None), ("skip", None), ("reuse", "disk"),
        ]  # fmt: skip
    with process(tmp_path) as engine:
        seen: list[object] = []
        result = engine.run(PASSES, on_event=seen.append)
        assert (calls, result["show"]) == ([], 33)
        assert (result.nodes["show"].state, result.nodes["show"].tier) == ("reused", "disk")
        assert [event.tier for event in seen if isinstance(event, Reused)] == ["disk"]
        assert engine.plan(PASSES).nodes["show"].tier == "memory"


def test_one_changed_number_costs_only_its_nodes_and_the_plan_says_why(
    tmp_path: Path, calls: list[str]
) -> None:
    with process(tmp_path) as engine:
        first = engine.run(PASSES).nodes
    changed = PASSES.set("pass2.b", 21)
    with process(tmp_path) as engine:
        steps = engine.plan(changed).nodes
        assert steps["pass2"].seconds == first["pass2"].seconds
        assert [(step.action, step.why) for step in steps.values()] == [
            ("skip", NoConsumerRuns()),
            ("reuse", Unchanged()),
            ("run", Changed("b", "20", "21")),
            ("run", UpstreamChanged("pass2")),
        ]
        assert engine.run(changed)["show"] == 34
        assert calls == ["Add 13 21", "Show 34"]


def test_an_unchanged_output_stops_the_wave_a_day_later(tmp_path: Path, calls: list[str]) -> None:
    with process(tmp_path) as engine:
        engine.run(ODD)
    other = ODD.set("n.value", 3)
    with process(tmp_path) as engine:
        result = engine.run(other)
        assert calls == ["Number 3", "Parity 3"]
        assert (result.nodes["add"].tier, result["show"]) == ("disk", 2)
    with process(tmp_path) as engine:
        assert engine.plan(other).count("run") == 0


def test_quick_nodes_run_again_and_the_plan_says_so(tmp_path: Path, calls: list[str]) -> None:
    quick = graph(
        n=("Weigh", {"value": 3}), half=("Halve", {"a": "$n.INT"}),
        show=("Show", {"value": "$half.quotient"}),
    )  # fmt: skip
    with process(tmp_path, min_seconds=60) as engine:
        engine.run(quick)
    with process(tmp_path, min_seconds=60) as engine:
        changed = quick.set("n.value", 4)
        assert engine.plan(quick.set("show.note_text", "!")).count("run") == 1
        assert engine.plan(quick, targets=["n"]).nodes["n"].why == NotStored()
        assert engine.run(changed)["show"] == 2
        assert calls == ["Weigh 4", "Halve 4", "Show 2"]


def test_newer_code_computes_everything_again(tmp_path: Path, calls: list[str]) -> None:
    with process(tmp_path) as engine:
        engine.run(PASSES)
    with process(tmp_path, "newer") as engine:
        assert engine.plan(PASSES).count("run") == 4
        engine.run(PASSES)
        assert len(calls) == 4


def test_a_node_with_a_corrupt_entry_runs_with_all_that_it_needs(
    tmp_path: Path, calls: list[str]
) -> None:
    with process(tmp_path) as engine:
        engine.run(PASSES)
    with process(tmp_path) as engine:
        plan = engine.plan(PASSES.set("show.note_text", "!"))
        assert plan.nodes["pass2"].tier == "disk"
        for path in tmp_path.glob("any/entries/*/*"):
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        result = engine.run(PASSES.set("show.note_text", "!"))
        assert (result.status, result["show"]) == ("done", 33)
        assert calls == ["Number 3", "Add 3 10", "Add 13 20", "Show 33!"]
        assert result.nodes["pass2"].why == StoredEntryCorrupt()


def test_saved_files_are_a_result_while_they_are_there(tmp_path: Path, calls: list[str]) -> None:
    saving = graph(n=("Number", {"value": 5}), save=("Write", {"value": "$n.INT"}))
    out = tmp_path / "out"
    out.mkdir()
    where = Workspace(output_dir=out)
    with process(tmp_path / "cache") as engine:
        engine.run(saving, where)
    with process(tmp_path / "cache") as engine:
        result = engine.run(saving, where)
        assert (calls, result.saved) == ([], (("save", out / "5.txt"),))
    (out / "5.txt").write_text("mine")
    with process(tmp_path / "cache") as engine:
        assert engine.plan(saving, where).nodes["save"].action == "run"
        engine.run(saving, where)
        assert calls == ["Write 5"]
    (out / "5.txt").unlink()
    with process(tmp_path / "cache") as engine:
        engine.run(saving, where)
        assert calls == ["Write 5"]
    with process(tmp_path / "cache") as engine:
        elsewhere = Workspace(output_dir=tmp_path)
        engine.run(saving, elsewhere)
        assert calls == ["Write 5"]


def test_outputs_come_back_in_their_named_tuple_and_as_lists(
    tmp_path: Path, calls: list[str]
) -> None:
    counted = graph(n=("Count", {"to": 2}), half=("Halve", {"a": "$n.INT"}))
    with process(tmp_path) as engine:
        engine.run(counted, targets=["half"])
    with process(tmp_path) as engine:
        outputs = engine.run(counted, targets=["half"])["half"]
        assert (outputs.quotient, outputs.remainder, calls) == ((0, 0), (0, 1), [])


def test_what_does_not_fit_in_memory_comes_from_disk(tmp_path: Path, calls: list[str]) -> None:
    store = Store(tmp_path, min_seconds=0.0)
    with Engine(REGISTRY, cache_bytes=0, store=store) as engine:
        engine.run(PASSES)
        store.flush()
        calls.clear()
        assert engine.run(PASSES)["show"] == 33
        assert engine.run(PASSES.set("pass2.b", 1))["show"] == 14
        assert calls == ["Add 13 1", "Show 14"]


def test_lazy_inputs_are_looked_up_on_disk(tmp_path: Path, calls: list[str]) -> None:
    either = graph(
        a=("Number", {"value": 7}), b=("Number", {"value": 8}),
        pick=("Pick", {"first": True, "a": "$a.INT", "b": "$b.INT"}),
        show=("Show", {"value": "$pick.INT"}),
    )  # fmt: skip
    with process(tmp_path) as engine:
        engine.run(either)
    with process(tmp_path) as engine:
        result = engine.run(either.set("show.note_text", "!"))
        assert (calls, result.nodes["pick"].tier) == (["Show 7!"], "disk")
    with process(tmp_path) as engine:
        assert engine.run(either.set("pick.first", False))["show"] == 8
        assert calls == ["Number 8", "Pick False", "Show 8"]


def test_a_copy_of_the_folder_serves_another_machine(tmp_path: Path, calls: list[str]) -> None:
    reading = graph(read=("Read", {"path": "a.txt"}))
    for machine in ("a", "b"):
        (tmp_path / machine / "inputs").mkdir(parents=True)
        (tmp_path / machine / "inputs" / "a.txt").write_text("the same")
    first, second = (Workspace(input_dir=tmp_path / machine / "inputs") for machine in ("a", "b"))
    with process(tmp_path / "a" / "cache") as engine:
        engine.run(reading, first, targets=["read"])
    copytree(tmp_path / "a" / "cache", tmp_path / "b" / "cache")
    rmtree(tmp_path / "a")
    with process(tmp_path / "b" / "cache") as engine:
        result = engine.run(reading, second, targets=["read"])
        assert (calls, result["read"], result.nodes["read"].tier) == ([], "the same", "disk")


@pytest.mark.parametrize("obstacle", ["folder", "file"])
def test_an_unusable_folder_stops_no_run(obstacle: str, tmp_path: Path, calls: list[str]) -> None:
    folder = tmp_path / "cache"
    if obstacle == "file":
        folder.write_text("not a folder")
    else:
        folder.mkdir(mode=0o500)
        (folder / "any").touch()
    with process(folder) as engine:
        assert engine.run(PASSES)["show"] == 33
        assert len(calls) == 4
