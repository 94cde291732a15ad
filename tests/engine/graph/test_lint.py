"""The runner of rules: which nodes they are asked about, what they see, what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph import lint
from latentloom.engine.graph.lint import Finding, LintWarning, Spot, rule
from tests.engine.fakes import PASSES, REGISTRY, graph

WORKSPACE = Workspace()


@pytest.fixture(autouse=True)
def own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "_rules", {})


def test_a_rule_is_asked_about_the_nodes_of_its_types_only() -> None:
    seen: list[str] = []

    @rule("Add", "Show")
    def look(spot: Spot) -> Iterator[Finding]:
        seen.append(spot.id)
        yield from ()

    assert lint.lint(PASSES, REGISTRY, WORKSPACE) == ()
    assert seen == ["pass1", "pass2", "show"]


def test_a_finding_becomes_a_warning_in_the_order_of_the_nodes() -> None:
    @rule("Number", "Add")
    def too_small(spot: Spot) -> Iterator[Finding]:
        for port in ("value", "b"):
            if spot.number(port) < 15:
                yield Finding(port, f"{spot[port]} is small", "a larger one")

    first, second = lint.lint(PASSES, REGISTRY, WORKSPACE)
    assert first == LintWarning(
        "too-small", "start", "Number", "value", "3 is small", "a larger one"
    )
    assert str(second) == "Add (pass1) .b: 10 is small\n  try:     a larger one"


def test_a_rule_sees_the_nodes_above_and_nothing_where_there_is_none() -> None:
    ways: list[list[str]] = []

    @rule("Show")
    def look(spot: Spot) -> Iterator[Finding]:
        ways.append([each.id for each in spot.way("value", "a")])
        assert spot["value"] is None
        assert not spot.number("value") <= 0
        assert not spot.number("value") >= 0
        assert spot.origin("nothing") is None
        assert spot.file("value") is None
        yield from ()

    lint.lint(PASSES, REGISTRY, WORKSPACE)
    assert ways == [["pass2", "pass1", "start"]]


def test_a_rule_sees_the_file_that_a_node_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    found: list[Path | None] = []

    @rule("Read")
    def look(spot: Spot) -> Iterator[Finding]:
        found.append(spot.file("path"))
        yield from ()

    reading = graph(r=("Read", {"path": "a.txt"}), b=("Break", {"a": 1}))
    lint.lint(reading, REGISTRY, Workspace(input_dir=tmp_path))
    assert found == [tmp_path / "a.txt"]


def test_nodes_that_no_output_needs_are_named_even_if_they_are_not_installed() -> None:
    spare = graph(
        n=("Number", {}), s=("Show", {"value": "$n.INT"}), m=("Number", {}), x=("Absent", {})
    )
    found = lint.lint(spare, REGISTRY, WORKSPACE)
    assert [(each.rule, each.node, each.type) for each in found] == [
        ("unused", "m", "Number"), ("unused", "x", "Absent"),
    ]  # fmt: skip
    nothing = graph(n=("Number", {}))
    assert lint.lint(nothing, REGISTRY, WORKSPACE) == ()


def test_a_graph_with_problems_gets_the_warnings_that_can_be_given() -> None:
    @rule("Number")
    def look(_spot: Spot) -> Iterator[Finding]:
        yield Finding("", "there is one", "none")

    broken = graph(n=("Number", {}), s=("Show", {}), t=("Show", {"value": "$n.INT"}))
    assert [each.node for each in lint.lint(broken, REGISTRY, WORKSPACE)] == ["n"]
