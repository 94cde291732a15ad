"""The runner of lint rules: the nodes that they check, what they see, and the warnings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.lint import Finding, LintRule, LintWarning, NodeView, lint, rule
from latentloom.engine.node.registry import Registry
from tests.engine.fakes import PASSES, REGISTRY, graph

WORKSPACE = Workspace()


def warnings(
    graph: Graph, *rules: LintRule, workspace: Workspace = WORKSPACE
) -> tuple[LintWarning, ...]:
    return lint(graph, REGISTRY | Registry.of(*rules), workspace)


def test_a_rule_checks_the_nodes_of_its_types_only() -> None:
    seen: list[str] = []

    @rule("Add", "Show")
    def look(node: NodeView) -> Iterator[Finding]:
        seen.append(node.id)
        yield from ()

    assert warnings(PASSES, look) == ()
    assert seen == ["pass1", "pass2", "show"]


def test_a_finding_becomes_a_warning_in_the_order_of_the_nodes() -> None:
    @rule("Number", "Add")
    def too_small(node: NodeView) -> Iterator[Finding]:
        for port in ("value", "b"):
            if node.number(port) < 15:
                yield Finding(port, f"{node[port]} is small", "a larger one")

    first, second = warnings(PASSES, too_small)
    assert first == LintWarning(
        rule="too-small",
        node="start",
        type="Number",
        port="value",
        text="3 is small",
        hint="a larger one",
    )
    assert str(second) == "Add (pass1) .b: 10 is small\n  try:     a larger one"


def test_a_rule_sees_the_nodes_upstream_and_nothing_where_there_is_none() -> None:
    chains: list[list[str]] = []

    @rule("Show")
    def look(node: NodeView) -> Iterator[Finding]:
        chains.append([above.id for above in node.chain("value", "a")])
        assert node["value"] is None
        assert not node.number("value") <= 0
        assert not node.number("value") >= 0
        assert node.origin("nothing") is None
        assert node.file("value") is None
        yield from ()

    warnings(PASSES, look)
    assert chains == [["pass2", "pass1", "start"]]


def test_a_rule_sees_the_file_that_a_node_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    files: list[Path | None] = []

    @rule("Read")
    def look(node: NodeView) -> Iterator[Finding]:
        files.append(node.file("path"))
        yield from ()

    reading = graph(r=("Read", {"path": "a.txt"}), b=("Break", {"a": 1}))
    warnings(reading, look, workspace=Workspace(input_dir=tmp_path))
    assert files == [tmp_path / "a.txt"]


def test_nodes_that_no_output_needs_are_named_even_if_they_are_not_installed() -> None:
    spare = graph(
        n=("Number", {}), s=("Show", {"value": "$n.INT"}), m=("Number", {}), x=("Absent", {})
    )
    assert [(warning.rule, warning.node, warning.type) for warning in warnings(spare)] == [
        ("unused", "m", "Number"), ("unused", "x", "Absent"),
    ]  # fmt: skip
    assert warnings(graph(n=("Number", {}))) == ()


def test_a_graph_with_problems_gets_the_warnings_that_can_be_given() -> None:
    @rule("Number")
    def look(_node: NodeView) -> Iterator[Finding]:
        yield Finding("", "there is one", "none")

    broken = graph(n=("Number", {}), s=("Show", {}), t=("Show", {"value": "$n.INT"}))
    assert [warning.node for warning in warnings(broken, look)] == ["n"]


def test_a_chain_ends_where_links_form_a_cycle() -> None:
    chains: list[list[str]] = []

    @rule("Show")
    def look(node: NodeView) -> Iterator[Finding]:
        chains.append([above.id for above in node.chain("value", "a")])
        yield from ()

    round_trip = graph(
        a=("Add", {"a": "$b.INT"}),
        b=("Add", {"a": "$a.INT"}),
        show=("Show", {"value": "$a.INT"}),
    )
    warnings(round_trip, look)
    assert chains == [["a", "b"]]
