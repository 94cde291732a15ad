"""`latentloom run --watch`: again on save, only the tail, and a page that shows the newest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import latentloom
from latentloom.console.watching import read_stamps, watch
from latentloom.engine.execution.executor import Engine
from latentloom.engine.node.cancel import CancelToken
from tests.paths import ROOT

pytestmark = pytest.mark.torch


def state(folder: Path) -> Any:
    text = (folder / "watch.js").read_text()
    return json.loads(text.removeprefix("show(").removesuffix(");\n"))


def watched(graph: Path, folder: Path, *edits: Callable[[], object]) -> list[Any]:
    """Watch a graph while it is edited; return the state of the page before each edit."""
    options = argparse.Namespace(
        file=str(graph), input=[], set=[], output=str(folder), input_dir="input", json=True,
        target=None, locked=False, lock=None,
    )  # fmt: skip
    token, states, waiting = CancelToken(), list[Any](), list(edits)

    def wait() -> None:
        states.append(state(folder))
        if waiting:
            waiting.pop(0)()
        else:
            token.cancel()

    with Engine(latentloom.registry()) as engine:
        assert watch(options, engine, token, wait) == 0
    return states


def test_a_saved_graph_runs_again_and_only_its_tail(graph: Path, tmp_path: Path) -> None:
    def edit() -> None:
        graph.write_text(graph.read_text().replace("prefix: small", "prefix: other"))

    first, second = watched(graph, tmp_path / "out", edit)
    assert (first["images"], second["images"]) == (["small_00001_.png"], ["other_00001_.png"])
    assert first["summary"].endswith("nodes: 4 ran")
    assert second["summary"].endswith("nodes: 1 ran, 1 reused, 2 skipped")
    assert (tmp_path / "out" / "watch.html").read_text().startswith("<!doctype html>")


def test_a_saved_input_file_runs_the_graph_again(graph: Path, tmp_path: Path) -> None:
    photo = tmp_path / "mine.png"
    photo.write_bytes((ROOT / "graphs" / "inputs" / "house.png").read_bytes())
    graph.write_text(graph.read_text().replace("inputs/house.png", "mine.png"))

    def edit() -> None:
        photo.write_bytes((ROOT / "graphs" / "inputs" / "lake.png").read_bytes())

    first, second = watched(graph, tmp_path / "out", edit)
    assert (first["run"], second["run"]) == (1, 2)
    assert second["images"] == ["small_00002_.png"]


def test_a_mistake_is_shown_and_the_next_save_runs(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = graph.read_text()
    edits = (lambda: graph.write_text("latentloom: [\n"), lambda: graph.write_text(good + "\n"))
    first, broken, again = watched(graph, tmp_path / "out", *edits)
    assert first["errors"] == again["errors"] == []
    assert "not YAML" in broken["errors"][0]
    assert again["images"] == first["images"]


def test_a_file_that_is_being_saved_has_no_stamp(tmp_path: Path) -> None:
    assert read_stamps([tmp_path / "gone.yaml"]) == {tmp_path / "gone.yaml": None}
